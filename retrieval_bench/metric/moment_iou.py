"""moment_iou@k: the largest overlap of the top k moments with a true one; at k = 1 its mean is mIoU."""

from __future__ import annotations

from retrieval_bench.intervals import MomentJudgement
from retrieval_bench.metric._ranks import Values, check_depth, share


def moment_iou(judgement: MomentJudgement, k: int) -> Values:
    """The largest temporal IoU of any of the top k moments with any true moment.

    Its mean at k = 1 is the mIoU of Yuan et al. 2019, "To find where you talk".

    Returns:
        [q]; NaN for queries without a true moment.

    Raises:
        ValueError: k outside 1 … judged ranks.

    >>> import numpy as np
    >>> iou = np.array([[[0.4, 0.0], [0.0, 0.6]]])
    >>> judgement = MomentJudgement(iou, np.array([[8.0, 9.0]]), np.array([[0, -1]]), iou > 0)
    >>> moment_iou(judgement, k=1), moment_iou(judgement, k=2)
    (array([0.4]), array([0.6]))
    """
    check_depth(judgement, k)
    return share(judgement.iou[:, :k].max(axis=(1, 2), initial=0.0), 1, judgement.relevant > 0)
