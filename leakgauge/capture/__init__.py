"""What a client really sent, on disk: recorded from any training, read without trusting it.

    with recording(network, "captures", examples=len(x), learning_rate=0.1):
        train(network)

A capture is a folder: `capture.json` says what it is (see `manifest`), tensors lie beside it as safetensors.

    FOLDER/capture.json          what was sent, by whom, and how it came about
    FOLDER/before.safetensors    the weights that local training started from
    FOLDER/sent.safetensors      what left the client: a gradient, a difference of weights, or new weights
    FOLDER/truth.safetensors     the private examples; only where whoever recorded asked for it
"""

from leakgauge.capture.files import Capture, find, read, write
from leakgauge.capture.manifest import Manifest, capture_schema
from leakgauge.capture.meaning import model_before, named, update_of
from leakgauge.capture.recording import recording

__all__ = ["Capture", "Manifest", "capture_schema", "find", "model_before", "named", "read", "recording", "update_of", "write"]
