"""Operations on hot paths: a readable reference, a fast plain-torch formula, a Triton kernel for CUDA.

Each operation has a folder: ``reference.py`` is the truth, ``op.py`` the torch operator with its gradient,
``_triton.py`` the kernel. No kernel here has been measured on CUDA yet, so the torch formula runs there too
unless ``implementation="triton"`` asks for the kernel.
"""
