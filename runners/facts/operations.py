"""Families of PyTorch's operations, by what they do to the elements of their operands.

An operation in none of them is one nothing is claimed about. Read by `dataflow.py`, `demand.py`, `least_work.py`,
`linearity.py`, `randomness.py`.
"""


def _family(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Every element of the first operand, once each, in another order or dtype.
VIEWS = _family(
    "view reshape permute transpose t unsqueeze squeeze flatten unflatten contiguous clone alias detach movedim "
    "moveaxis swapaxes swapdims numpy_T mT _to_copy to lift_fresh_copy pixel_shuffle pixel_unshuffle channel_shuffle "
    "_unsafe_view flip roll rot90 view_as reshape_as"
)
PRODUCTS = _family("linear mm bmm matmul mv dot addmm baddbmm addmv addbmm einsum")
# Each element of the result needs its own element of every operand; a smaller operand is broadcast.
POINTWISE = _family(
    "add sub rsub mul div neg abs exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square reciprocal pow sin cos tan "
    "sinh cosh asin acos atan atan2 erf erfc sigmoid tanh relu relu6 gelu silu mish elu selu celu leaky_relu prelu "
    "softplus softsign hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink logsigmoid log_sigmoid "
    "threshold clamp clamp_min clamp_max clip sign floor ceil round trunc frac fmod remainder maximum minimum fmax "
    "fmin eq ne lt le gt ge isnan isinf isfinite lerp addcmul addcdiv hypot nan_to_num logaddexp logaddexp2 "
    "floor_divide bitwise_not logical_not deg2rad rad2deg"
)
# Each element of the result needs all elements of its own slice of the first operand, and slices do not overlap.
REDUCTIONS = _family(
    "sum mean prod amax amin max min argmax argmin aminmax logsumexp norm linalg_vector_norm linalg_norm "
    "linalg_matrix_norm frobenius_norm std var std_mean var_mean median nansum nanmean"
)
# All of the result together needs all of every operand.
WHOLE = _family(
    "softmax log_softmax _softmax _log_softmax softmin cumsum cumprod cummax cummin logcumsumexp sort argsort topk "
    "cat concat stack hstack vstack dstack kthvalue repeat tile repeat_interleave glu cosine_similarity "
    "mse_loss l1_loss smooth_l1_loss huber_loss kl_div binary_cross_entropy binary_cross_entropy_with_logits "
    "soft_margin_loss adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
    "adaptive_max_pool2d adaptive_max_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d lstm gru rnn_tanh rnn_relu "
    "cdist pairwise_distance outer kron cross fft_fft fft_rfft"
)
# A normalised value needs its whole group of the first operand, and the weights behind it.
NORMS = _family(
    "layer_norm group_norm instance_norm batch_norm rms_norm native_layer_norm native_group_norm native_batch_norm "
    "_native_batch_norm_legit _native_batch_norm_legit_no_training _fused_rms_norm"
)
# They give a part of the first operand.
PARTS = _family("slice select narrow diagonal")
# They give several parts of the first operand that do not overlap; `getitem` picks one.
SPLITS = _family("split split_with_sizes chunk unbind tensor_split unsafe_split unsafe_chunk")
LOOKUPS = _family("embedding gather index_select index take")
POOLS = _family("max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices")
# They put zeros, or minus infinities that softmax turns into zeros, where a kernel can know of them.
ZEROING = _family(
    "masked_fill where tril triu diag diag_embed diagonal_scatter one_hot scatter masked_scatter slice_scatter "
    "select_scatter index_put constant_pad_nd pad zeros zeros_like new_zeros eye full full_like new_full index_fill "
    "block_diag nonzero masked_select"
)
# They draw random numbers; a dropout only in mode train.
RANDOM = _family(
    "rand rand_like randn randn_like randint randint_like randperm bernoulli bernoulli_ multinomial normal normal_ "
    "uniform_ random_ exponential_ geometric_ cauchy_ poisson log_normal_ gumbel_softmax fractional_max_pool2d "
    "fractional_max_pool3d"
)
DROPOUTS = _family("dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout")
