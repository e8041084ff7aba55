/* mlxn/ops.h: one typed function per operation. Printed by `check --print-ops-h`; do not edit by hand.
 *
 * Every function records one operation into `encoder` (encoder.h holds the error and thread rules). Tensors are views
 * (buffer.h); the memory behind them is kept alive until the work has completed. "optional" tensors are absent when
 * their buffer is NULL. Shapes are written [outermost, …, innermost]; R stands for any leading dims. */
#ifndef MLXN_OPS_H
#define MLXN_OPS_H

#include <mlxn/encoder.h>
#include <mlxn/op_params.h>
#include <mlxn/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

/* out = a + b, elementwise. a, b, out: same dims and dtype (f32, f16, bf16; half types add in f32, round once). out
 * may be a or b. */
MLXN_API mlxn_status mlxn_elementwise_add(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out);

/* out = a * b, elementwise; rules of elementwise_add. */
MLXN_API mlxn_status mlxn_elementwise_mul(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out);

/* out = scale * x. x, out: same dims and dtype (f32, f16, bf16). out may be x. */
MLXN_API mlxn_status mlxn_scalar_mul(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                     const mlxn_scalar_mul_params *params);

/* out = x converted, round to nearest even. Same dims; f32, f16, bf16 in any pairing. */
MLXN_API mlxn_status mlxn_cast(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out);

/* out = x. Same dims and dtype (any), any strides on either side. */
MLXN_API mlxn_status mlxn_copy(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out);

/* out[i, :] = x[min(index[i], rows - 1), :]. x: [rows, D] f32/f16/bf16; index: [n] u32; out: [n, D], dtype of x. */
MLXN_API mlxn_status mlxn_gather(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out);

/* out[t, :] = scale * table[min(ids[t], rows - 1), :]. ids: [T] u32; table: weight [V, D]; out: [T, D] f32. */
MLXN_API mlxn_status mlxn_embedding(mlxn_encoder *encoder, mlxn_tensor ids, mlxn_weight *table, mlxn_tensor out,
                                    const mlxn_embedding_params *params);

/* out[r] = the lowest index of the largest element of x[r, :]; NaN is ignored; 0 if there is no number. x: [R, N]
 * f32; out: [R] u32. */
MLXN_API mlxn_status mlxn_argmax(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out);

/* out = cap * tanh(x / cap), cap > 0. Same dims and dtype (f32, f16, bf16). out may be x. */
MLXN_API mlxn_status mlxn_softcap(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                  const mlxn_softcap_params *params);

/* out = gate / (1 + exp(-gate)) * up. Same dims and dtype (f32, f16, bf16). out may be gate or up. */
MLXN_API mlxn_status mlxn_silu_mul(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor out);

/* out = gelu(gate) * up with the tanh form gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). Rules of
 * silu_mul. */
MLXN_API mlxn_status mlxn_gelu_mul(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor out);

/* out = x / sqrt(mean(x^2) + eps) * w over the last dim (Zhang & Sennrich 2019). x, out: [R, D], same dtype (f32,
 * f16, bf16), up to rank 4; w: optional, [D] f32. out may be x. */
MLXN_API mlxn_status mlxn_rms_norm(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor out,
                                   const mlxn_rms_norm_params *params);

/* out = residual + rms_norm(x, w). x, residual, out: same dims and dtype; w: optional [D] f32. out may be residual or
 * x. */
MLXN_API mlxn_status mlxn_norm_add(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor residual,
                                   mlxn_tensor out, const mlxn_rms_norm_params *params);

/* Rotary position embedding (Su et al. 2021). x, out: [T, H, D] f32/f16/bf16; positions: [T] u32; factors: optional
 * [rope_dims/2] f32, divides the angle of each pair. Pair i turns by position * f[i], one f32 product, with f[i] =
 * freq_scale * base^(-2i/rope_dims) / factors[i] computed in double and rounded to f32; elements beyond rope_dims
 * pass through. Pairing HEAD_HALF turns (i, i + D/2), i < rope_dims/2, by frequencies of base^(-2i/D). out may be
 * x. */
MLXN_API mlxn_status mlxn_rope(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor positions, mlxn_tensor factors,
                               mlxn_tensor out, const mlxn_rope_params *params);

/* out[m, n] = sum_k x[m, k] * w[n, k] + bias[n] + residual[m, n]. x: [M, K] f32/f16/bf16; w: weight [N, K]; bias:
 * optional [N] f32; residual: optional [M, N] f32; out: [M, N] f32. out may be residual, not x. In the fast precision
 * x is rounded to 16-bit fixed point per group of 32 where w is quantized. */
MLXN_API mlxn_status mlxn_matmul(mlxn_encoder *encoder, mlxn_tensor x, mlxn_weight *w, mlxn_tensor bias,
                                 mlxn_tensor residual, mlxn_tensor out);

/* k_cache[sequences[t], h, positions[t] mod C, :] = k[t, h, :], the same for v. k, v: [T, Hk, Dk] and [T, Hk, Dv],
 * f32, f16 or bf16; sequences, positions: [T] u32; caches: [S, Hk, C, D] f32, f16 or bf16, or [S, Hk, C, bytes] u8 of
 * the types in params (kv.h). Rows whose sequence is >= S are skipped. Two rows must not name the same slot. */
MLXN_API mlxn_status mlxn_kv_write(mlxn_encoder *encoder, mlxn_tensor k, mlxn_tensor v, mlxn_tensor sequences,
                                   mlxn_tensor positions, mlxn_tensor k_cache, mlxn_tensor v_cache,
                                   const mlxn_kv_write_params *params);

/* Attention over caches, grouped heads: head h reads cache head h / (H / Hk). Row t sees the positions p of its
 * sequence that params.visible and params.window say; causal: p <= positions[t], p > positions[t] - window (if window
 * > 0) and p > positions[t] - C. They lie in slot p mod C. s = scale * q.k; if softcap > 0: s = softcap * tanh(s /
 * softcap); if alibi_max_bias > 0: s -= slope_h * |positions[t] - p| (Press et al. 2022); s += mask; out = softmax(s)
 * v, with exp(sinks[h]) as one more term of the denominator. q: [T, H, Dk] f32, f16 or bf16; out: [T, H, Dv], the
 * same dtype; caches: as in kv_write, of the types in params; mask: optional [T, C] or [T, H, C] by slot, f32, f16,
 * bf16, or u8 where 0 hides; sinks: optional [H] f32. Rows that see no key, and rows whose sequence is >= S, give
 * zeros. Slots that no row sees may hold anything. v_cache may be a view of k_cache. */
MLXN_API mlxn_status mlxn_attention(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k_cache, mlxn_tensor v_cache,
                                    mlxn_tensor sequences, mlxn_tensor positions, mlxn_tensor sinks, mlxn_tensor mask,
                                    mlxn_tensor out, const mlxn_attention_params *params);

/* out = x / (1 + exp(-x)). Same dims and dtype (f32, f16, bf16). out may be x. */
MLXN_API mlxn_status mlxn_silu(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out);

/* out = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the tanh form. Rules of silu. */
MLXN_API mlxn_status mlxn_gelu(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out);

/* out = rope(rms_norm(x, w)): each head x[t, h, :] normed, then turned. x, out: [T, H, D] f32/f16/bf16, same dtype;
 * w: optional [D] f32; positions, factors: as in rope. The normed values are f32. out may be x. */
MLXN_API mlxn_status mlxn_norm_rope(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor positions,
                                    mlxn_tensor factors, mlxn_tensor out, const mlxn_norm_rope_params *params);

/* t = x + residual; out = (norm(t) * (w + weight_offset) + bias + add) * scale; sum_out = t. The norm of each row (or
 * of each of its groups) is RMS, layer (mean and biased variance), or L2 with eps in the sum or as the least length.
 * x, residual, add, sum_out, out: same dims and dtype (f32, f16, bf16); w, bias: [D]; scale: [1], [D] or x's dims;
 * all but x and out optional. t is kept in f32: sum_out is rounded, what is normed is not. out may be x, residual or
 * add. */
MLXN_API mlxn_status mlxn_row_norm(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor residual, mlxn_tensor w,
                                   mlxn_tensor bias, mlxn_tensor add, mlxn_tensor scale, mlxn_tensor sum_out,
                                   mlxn_tensor out, const mlxn_row_norm_params *params);

/* out[j] = rms_norm(r, w[j]) for every j, where r = residual + rms_norm(x, post_w), or x where both are absent;
 * sum_out = r. x, residual, sum_out: same dims and dtype, up to rank 3; w: [N, D]; out: [N, dims of x]. r is kept in
 * f32. */
MLXN_API mlxn_status mlxn_norm_multi(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor post_w, mlxn_tensor residual,
                                     mlxn_tensor w, mlxn_tensor sum_out, mlxn_tensor out,
                                     const mlxn_norm_multi_params *params);

/* y = sum over j of experts[r, j, :] * weights[r, j]; out = base + rms_norm(y, w), or rms_norm(base, base_w) +
 * rms_norm(y, w) where norm_base is set: then base itself is not added. experts: [R, K, D]; weights: [R, K] f32;
 * base, out: [R, D] of the dtype of experts; w, base_w: optional [D]. out may be base. */
MLXN_API mlxn_status mlxn_moe_sum_norm(mlxn_encoder *encoder, mlxn_tensor experts, mlxn_tensor weights, mlxn_tensor w,
                                       mlxn_tensor base, mlxn_tensor base_w, mlxn_tensor out,
                                       const mlxn_moe_sum_norm_params *params);

/* out = rms_norm(x, w) * silu(z), or rms_norm(x * silu(z), w) where gate_first is set, over rows or groups of a row.
 * x, z, out: same dims and dtype; w: optional [D]. out may be x or z. */
MLXN_API mlxn_status mlxn_ssm_norm_gate(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor z,
                                        mlxn_tensor out, const mlxn_norm_gate_params *params);

/* Group norm (Wu & He 2018): (x - mean) / sqrt(variance + eps) * w[c] + bias[c], mean and biased variance over the
 * channels of a group and all positions. x, out: [N, C, P], same dtype (f32, f16, bf16); w, bias: optional [C]. out
 * may be x. */
MLXN_API mlxn_status mlxn_group_norm(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                     mlxn_tensor out, const mlxn_group_norm_params *params);

/* Rotary position embedding in all its forms: rope with several position axes, a range of channels, any length of the
 * row of frequencies, YaRN (Peng et al. 2023) and the inverse rotation, which is also the gradient. x, out: [T, H, D]
 * f32/f16/bf16; positions: [T], or [A, T] with an axis per row, u32 or i32; factors: optional [rope_dims/2] f32,
 * divides the angle of each pair (Llama 3, LongRoPE; 1e30 stops a pair). The frequency of a pair is computed in
 * double and rounded to f32, the angle is one f32 product. out may be x. */
MLXN_API mlxn_status mlxn_rope_multi(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor positions, mlxn_tensor factors,
                                     mlxn_tensor out, const mlxn_rope_multi_params *params);

/* out[t, h, :] = cache[sequences[t], h, positions[t] mod C, :] as numbers. cache: as in kv_write, params.type that of
 * its rows; rows of a TQ type are rotated back unless params.rotated is set. sequences, positions: [T] u32; out: [T,
 * Hk, D] f32, f16 or bf16. Rows whose sequence is >= S give zeros. */
MLXN_API mlxn_status mlxn_kv_read(mlxn_encoder *encoder, mlxn_tensor cache, mlxn_tensor sequences,
                                  mlxn_tensor positions, mlxn_tensor out, const mlxn_kv_read_params *params);

/* out = H x for every row, H the Walsh-Hadamard matrix in natural order over sqrt(D), its own inverse; with
 * params.signs also s, the signs of the TurboQuant codec (turboquant.h), before or after it. x, out: same dims and
 * dtype (f32, f16, bf16), sums in f32; D, the last dim, a power of two up to 65536, with signs up to 512. out may be
 * x. */
MLXN_API mlxn_status mlxn_hadamard(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                   const mlxn_hadamard_params *params);

/* The K experts of each token, the best first, the lowest index of equals, and their weights. logits: [T, E] f32, f16
 * or bf16; ids: [T, K] u32; weights: [T, K] f32. Scores: softmax over all experts, softmax over the selected ones, or
 * sigmoid. Selected are the largest of score + bias (bias: optional [E] f32), without bias of the logits; with
 * params.groups only within the best groups. Weights are the scores, divided by their sum where params.normalize says
 * so (a sum up to 1e-9 is left), times scale (optional [E] f32) before or after that, times params.factor. */
MLXN_API mlxn_status mlxn_moe_route(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor bias, mlxn_tensor scale,
                                    mlxn_tensor ids, mlxn_tensor weights, const mlxn_moe_route_params *params);

/* out[t] = sum over j, in ascending order, of experts[t, j] * weights[t, j] + sigmoid(gate[t]) * shared[t] +
 * residual[t]. experts: [T, K, D] f32, f16 or bf16; weights: [T, K] f32; out: [T, D] f32, f16 or bf16; shared,
 * residual: optional, as out; gate: optional [T] f32, raw (without it shared counts as it is). Sums are f32. out may
 * be residual. */
MLXN_API mlxn_status mlxn_moe_sum(mlxn_encoder *encoder, mlxn_tensor experts, mlxn_tensor weights, mlxn_tensor shared,
                                  mlxn_tensor gate, mlxn_tensor residual, mlxn_tensor out);

/* The generic form that all of the above end in: `args` in the order of the operation's argument table
 * (`mlxn ops --json`), `params` of exactly `params_size` bytes (NULL and 0 if the operation has none). */
typedef struct mlxn_arg {
    const mlxn_tensor *tensor; /* exactly one of the two is set; both NULL = absent optional argument */
    mlxn_weight *weight;
} mlxn_arg;

typedef uint32_t mlxn_op;

MLXN_API mlxn_status mlxn_encode(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t n_args,
                                 const void *params, uint32_t params_size);
/* The same. With the gate HF2Q_AUTO_BARRIER on (exactly "1", read once) it also counts whether a barrier was placed
 * before it (auto_barrier_count) or it may run beside what precedes (auto_barrier_concurrent_count). Hazards are
 * resolved either way; captured operations are not counted. */
MLXN_API mlxn_status mlxn_encode_tracked(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t n_args,
                                         const void *params, uint32_t params_size);
/* UINT32_MAX if there is no operation of that name. */
MLXN_API mlxn_op mlxn_op_find(const char *name);
MLXN_API uint32_t mlxn_op_count(void);
/* NULL past the end. */
MLXN_API const char *mlxn_op_name(mlxn_op op);

typedef struct mlxn_op_arg_info {
    const char *name;
    bool input, output; /* both: read and written */
    bool weight, optional;
    uint32_t dtypes;             /* bit (1 << mlxn_dtype) of each that is allowed; 0 for weights */
    uint32_t min_rank, max_rank; /* 0 for weights */
} mlxn_op_arg_info;
/* Row i of an operation's argument table; false past the last, or if there is no such operation. */
MLXN_API bool mlxn_op_arg(mlxn_op op, uint32_t i, mlxn_op_arg_info *out);
/* Bytes of its parameter struct; 0 if it has none, or if there is no such operation. */
MLXN_API uint32_t mlxn_op_params_size(mlxn_op op);

typedef struct mlxn_op_alias_info {
    const char *name; /* as a reference library calls it */
    mlxn_op op;       /* which does the same here */
    const char *how;  /* what the call looks like, "" where it is the same */
} mlxn_op_alias_info;
/* Row i of the table of other names; false past the last. */
MLXN_API bool mlxn_op_alias(uint32_t i, mlxn_op_alias_info *out);

/* For mlxn_rope_multi_params: between which pairs YaRN's ramp lies, for a model trained on `context` positions:
 * c(beta) = dims ln(context / (2 pi beta)) / (2 ln base), low = c(beta_fast), high = c(beta_slow), rounded down and
 * up where `whole` is set, kept within [0, dims - 1]. Usual betas: 32 and 1. */
MLXN_API void mlxn_rope_yarn_ramp(uint32_t dims, double base, double context, double beta_fast, double beta_slow,
                                  bool whole, float *low, float *high);
/* The base of NTK scaling by `scale`: base * scale^(dims / (dims - 2)); dims > 2. */
MLXN_API double mlxn_rope_ntk_base(uint32_t dims, double base, double scale);

typedef struct mlxn_kernel_info {
    const char *op, *backend, *kernel, *needs; /* needs: "" or instruction sets, "avx512+vnni" */
} mlxn_kernel_info;
/* Rows of the op x backend x kernel matrix, fastest first within an operation; false past the end. */
MLXN_API bool mlxn_kernel_list(uint32_t i, mlxn_kernel_info *out);

#ifdef __cplusplus
}
#endif
#endif
