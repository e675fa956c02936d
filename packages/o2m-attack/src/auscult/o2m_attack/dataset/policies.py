"""3MAD's policies: eighteen kinds of clinical task that a question belongs to; they are no kinds of harm."""

POLICY_GROUPS = {
    "Image understanding": (
        "Disease Classification", "View Classification", "Abnormality Detection", "Object Detection",
    ),
    "Text generation": (
        "Impression Generation", "Findings Generation", "Anatomical Findings", "Impression Summary",
    ),
    "Question answering": ("Open-ended", "Close-ended", "Fact-based", "Inference-based"),
    "Image-text matching": ("Matching", "Selection"),
    "Report evaluation": ("Error Identification", "Quality Assessment"),
    "Explanation and inference": ("Explanation Generation", "Inference Making"),
}  # fmt: skip

POLICIES = tuple(policy for group in POLICY_GROUPS.values() for policy in group)
"""All eighteen, in the order of their groups."""
