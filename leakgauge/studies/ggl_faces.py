"""The study ggl on faces of 64x64, with a generator that learned from other faces: the setting of the paper, with parts at hand.

The files are those that docs/generators.md makes: faces.safetensors, of a package, and faces.npz, of the ORL database.
"""

from __future__ import annotations

from leakgauge.studies.ggl import BASE, CLAIMS, GGL, REFINED, STEPS, VIEWS, table
from leakgauge.studying import Study

SEEDS = range(500, 512)
TABLE = table(
    {**BASE, "data": {"name": "npz", "path": "faces.npz"}, "victim": {"name": "cnn", "width": 16}},
    SEEDS,
    generator="faces.safetensors",
)

STUDY = Study(
    question="Does a generator of faces get around the defenses that stop attacks in pixels?",
    method=(
        "One seed is one fresh network, one face and one start of the search. Victims tell 40 persons apart. The generator of "
        f"{GGL} and {REFINED} is a DCGAN of synthetic faces from a package, which never saw the faces that are audited. All else "
        f"is as in the study ggl: {STEPS} gradients of the model for every attack, the settings that were tuned there on other "
        "images, and the same defenses."
    ),
    blocks=(TABLE,),
    views=VIEWS,
    claims=CLAIMS,
)
