r"""Similarity of patients that counts how far each value can be trusted.

Of two rows x, y with confidences c, d over F features (PRISM, arXiv 2309.04160, as its released code has it)::

    s = 1 / ( (1/F) sum_f [ (1 - zeta) (x_f - y_f)^2 + zeta exp(1 - c_f) exp(1 - d_f) ] )

With u = exp(1 - c) and w = exp(1 - d) both sums are products of matrices: |x|^2 + |y|^2 - 2 x.y and u.w. So all
pairs cost one product of inner size 2F, and no array of N x M x F exists. Rows are centred first, as the
distance does not see it and cancellation does; it is cut at 0, and everything is computed in float32 at
least. :func:`most_similar` and :func:`similarity_pool` go over pairs in tiles and never hold N x M of them.
"""

from auscult.core.kernels.confident_similarity.op import confident_similarity, most_similar, similarity_pool

__all__ = ["confident_similarity", "most_similar", "similarity_pool"]
