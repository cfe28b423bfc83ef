"""The sentences of a report, each in one place."""

from __future__ import annotations

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, LIMIT, Ending, Outcome

TITLES: dict[Outcome, str] = {
    "leaks": "Leaks",
    "partial leak": "Partial leak",
    "no leak found by these attacks": "No leak found by these attacks",
    "inconclusive": "Inconclusive",
    "not judged": "Not judged",
}

SHORT: dict[Outcome, str] = {**TITLES, "no leak found by these attacks": "No leak found"}

TONES: dict[Outcome, str] = {
    "leaks": "bad",
    "partial leak": "bad",
    "no leak found by these attacks": "calm",
    "inconclusive": "unsure",
    "not judged": "unsure",
}
"""Outcome to the CSS class that colors it."""

RECOVERED = (
    "What leaves the client is enough to rebuild private examples: whoever sees this update, and has what is listed under "
    "“The adversary”, can do what is shown below."
)
NEARER = (
    "What leaves the client says more of the private pictures than chance explains, although none is rebuilt: an attack that makes "
    "more of it, or a set of candidate images, may do the rest. Look at the pictures below before you call it harmless."
)
LABELED = (
    "What leaves the client gives away which classes the private examples are of; of the pictures, this attack found no more than "
    "chance explains. Where a class is a diagnosis, that is the secret."
)
HELD = (
    "The guesses were tested against chance and did not pass, and the positive control did. Read this as evidence about the "
    "attacks that were tried: a stronger one may still succeed."
)
OPEN = (
    "This audit cannot tell whether what leaves the client gives private data away. Do not read it as safe: read the reason, "
    "change what it names, and run the audit again."
)
UNJUDGED = (
    "This is what an attacker would make of the update. Whoever has the private examples can tell whether it is right: record them "
    "beside the update, and run it again, for a verdict."
)
UNFINISHED = "The audit did not finish, so it says nothing about what leaks. It still counts among the audits that were started."

ENDINGS: dict[Ending, str] = {
    "ok": "completed",
    "diverged": "diverged",
    "out_of_scope": "out of scope",
    "failed": "failed",
    "timed_out": "timed out",
}

TRIALS = {
    ATTACK: ("Attack", "the audited attack on the private batch"),
    FLOOR: ("Floor", "the same attack given the update of other data: what it scores without the secret"),
    BLIND: ("Blind guess", "a guess made without any update"),
    LIMIT: ("Limit", "the nearest to the private pictures that the attack can make, as far as a search with them in hand finds it"),
    CONTROL: ("Positive control", "the undefended update with everything granted: must succeed, or finding nothing means nothing"),
}

METRICS = {
    "psnr": ("PSNR", "dB", "higher is closer"),
    "ssim": ("SSIM", "", "1 is identical"),
    "mse": ("MSE", "", "0 is identical"),
    "lpips": ("LPIPS", "", "lower is closer"),
}
"""Metric to its label, unit and direction; others show the name they were given."""

ALIGNED = "brightness and contrast fitted, see note"
ALIGNMENT = (
    "“Affine” scores are taken after the best affine fit (one gain, one offset) of each color channel to the truth. BatchNorm "
    "removes brightness and contrast from what a model sees, so an attack may get the picture right and these two wrong; "
    "a person would still recognize it."
)

CHANGED = (
    "The client changed the examples before it trained on them. Scores “as trained on” are against what it made of them; an "
    "example counts as recovered if either is found, for a person recognizes a face in a rotated picture, too."
)
UNCHANGED = "the client of this trial trained on the examples as they are"

CAPABILITIES = {
    "labels": "the labels of the private examples, in no particular order",
    "count": "how many examples are behind the update",
    "procedure": "how the client trains: local optimizer, steps, batch size, BatchNorm mode",
    "scale": "the factor between the update and a mean gradient",
    "defense": "which defense was applied, with its parameters",
    "buffers": "the BatchNorm statistics that the client sends along",
    "public_data": "other examples of the same kind as the private ones",
}
"""Capability to what the adversary has with it."""

ALWAYS = "The model before the update, and the update that the client sent: every adversary of this report sees these."

THREATS = {
    "eavesdropper": "anyone who can read what passes between client and server",
    "weights": "whoever holds a client's weights before and after training, and not how it was trained",
    "server": "an honest but curious server, which set the training procedure and is told how many examples were used",
    "informed": "a server that also knows the labels, receives BatchNorm statistics and holds data of the same kind: "
    "stronger than most, and the safer one to plan for",
    "adaptive": "an adversary that also knows the defense and its parameters: the one that a defense must be judged by",
}
"""Named threat model to who that is."""

CARE = "This page shows private examples: handle it as you would handle the data."

REDACTED = (
    "This report is redacted: every number is there; the private pictures, their labels, the folders of files and what errors said "
    "are not."
)

LIMITS = (
    "A score is evidence, not proof. Finding a leak shows that these private examples leak from this update under the "
    "conditions above. Finding none shows that these attacks, with this budget, found none: it bounds nothing, and says nothing "
    "about other models, other data, other rounds of training or stronger attacks.",
    "What is measured is reconstruction of training examples from one client’s update. Membership and property inference, "
    "model extraction and poisoning are outside of this report.",
    "For a risk assessment, this can serve as evidence towards NIST AI 100-2e2025, NISTAML.032 (data reconstruction); the nearest "
    "MITRE ATLAS technique is AML.T0024.001 (Invert AI Model), which does not speak of gradients or federated learning. "
    "It does not establish conformity with any standard or law.",
)
