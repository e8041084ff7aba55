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
 * the types in params (kv.h). Rows whose sequence is >= S are skipped. Of rows that name the same slot the last one
 * is kept: of more than C tokens the last C. */
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

/* out = fn(x), elementwise, fn of mlxn_unary_fn. Same dims and dtype (f32, f16, bf16; computed in f32, rounded once).
 * out may be x. */
MLXN_API mlxn_status mlxn_unary(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                const mlxn_unary_params *params);

/* dx = dy * fn'(x), the gradient of unary with the same parameters; 0 for sign, step and the roundings. Same dims and
 * dtype (f32, f16, bf16). dx may be x or dy. */
MLXN_API mlxn_status mlxn_unary_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dy, mlxn_tensor dx,
                                         const mlxn_unary_params *params);

/* out = fn(a, b), elementwise, fn of mlxn_binary_fn. Dims of a and b are matched from the last one on and repeated
 * where they are missing or 1. One dtype (f32, f16, bf16; computed in f32, rounded once). out may be the one that has
 * all of its dims. */
MLXN_API mlxn_status mlxn_binary(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out,
                                 const mlxn_binary_params *params);

/* out = 1 where fn(a, b) holds, else 0; fn of mlxn_compare_fn. Dims as in binary; a and b of one dtype (any), out u8.
 * Comparisons with NaN do not hold, but for "not equal". */
MLXN_API mlxn_status mlxn_compare(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out,
                                  const mlxn_compare_params *params);

/* out = a where condition is not 0, else b, bit for bit. condition: u8; a, b, out: one dtype (any). Dims as in
 * binary. out may be a or b. */
MLXN_API mlxn_status mlxn_where(mlxn_encoder *encoder, mlxn_tensor condition, mlxn_tensor a, mlxn_tensor b,
                                mlxn_tensor out);

/* out = fn(gate) * up, fn of mlxn_glu_fn. Same dims and dtype (f32, f16, bf16); halves of one tensor are views of it.
 * out may be gate or up. */
MLXN_API mlxn_status mlxn_glu(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor out,
                              const mlxn_glu_params *params);

/* out = value, everywhere. out: any dtype, any strides. */
MLXN_API mlxn_status mlxn_fill_value(mlxn_encoder *encoder, mlxn_tensor out, const mlxn_fill_value_params *params);

/* out[r] = the lowest index of the smallest element of x[r, :]; rules of argmax. */
MLXN_API mlxn_status mlxn_argmin(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out);

/* out = fn of the elements of the last axes of x, fn of mlxn_reduce_fn; other axes by a view that has them last. x:
 * f32, f16, bf16; out: f32 or the dtype of x, the dims of x that stay, or [1]. Sums are taken in f32 or better. */
MLXN_API mlxn_status mlxn_reduce(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                 const mlxn_reduce_params *params);

/* out[.., j] = fn of x[.., 0 to j], fn of mlxn_scan_fn, along the last axis, of any length. Same dims and dtype (f32,
 * f16, bf16); the running value is a double. out may be x. */
MLXN_API mlxn_status mlxn_scan(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_scan_params *params);

/* out[.., j] = the index of the j-th element of x[.., :] in rising or falling order, stable: equal elements keep
 * their order, NaN comes last either way. x: f32, f16, bf16, rows of any length; out: u32, same dims. */
MLXN_API mlxn_status mlxn_argsort(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                  const mlxn_argsort_params *params);

/* out = the elements of each row of x in the order of argsort. Same dims and dtype (f32, f16, bf16). */
MLXN_API mlxn_status mlxn_sort(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                               const mlxn_argsort_params *params);

/* The k largest elements of each row, largest first, equal ones by rising index, NaN last. x: [R, N] f32, f16, bf16;
 * indices: [R, k] u32, k <= N; values: optional, [R, k], dtype of x. */
MLXN_API mlxn_status mlxn_top_k(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor indices, mlxn_tensor values);

/* out = e^(v - max) / sum over the last axis, v = scale * x + mask, or its logarithm. x, out: same dims and dtype
 * (f32, f16, bf16; computed in f32, rounded once); mask: optional, any of these dtypes, dims matched from the last
 * one on, repeated where missing or 1. Rows of -infinity alone give 0 (-infinity). out may be x. */
MLXN_API mlxn_status mlxn_softmax(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor mask, mlxn_tensor out,
                                  const mlxn_softmax_params *params);

/* dx = y * (dy - sum(y * dy)) over the last axis, y the result of softmax. Same dims and dtype (f32, f16, bf16). dx
 * may be y or dy. */
MLXN_API mlxn_status mlxn_softmax_backward(mlxn_encoder *encoder, mlxn_tensor y, mlxn_tensor dy, mlxn_tensor dx);

/* token[r] = the first i with p[0] + .. + p[i] > uniform[r], p = softmax(logits[r, :] / temp), the last token with a
 * probability if rounding leaves none; logprob[r] = ln p[token[r]]. NaN has probability 0; a row without a number
 * above -infinity gives token 0 and -infinity. logits: [R, N] f32; uniform: [R] f32, from 0 to less than 1; token:
 * [R] u32; logprob: [R] f32. */
MLXN_API mlxn_status mlxn_softmax_sample(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor uniform,
                                         mlxn_tensor token, mlxn_tensor logprob,
                                         const mlxn_softmax_sample_params *params);

/* out[index[i], :] = x[i, :]; of equal indices the last one counts, rows beyond the end of out are left out. x: [n,
 * D]; index: [n] u32; out: [rows, D], dtype of x (f32, f16, bf16); other rows stay as they are. */
MLXN_API mlxn_status mlxn_scatter(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out);

/* out[index[i], :] += x[i, :] for all i, in rising order, in f32, rounded once; rules of scatter. The gradient of
 * gather and embedding. */
MLXN_API mlxn_status mlxn_scatter_add(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out);

/* out[r, j] = x[r, min(index[r, j], N - 1)]. x: [R, N], any dtype; index: [R, M] u32; out: [R, M]. */
MLXN_API mlxn_status mlxn_take_along(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out);

/* out[p, c] = table[code, c], code the c-th four bits of row p, the low ones of a byte first. packed: [P, D/2] u8;
 * table: [16, D] f32; out: [P, D] f32. */
MLXN_API mlxn_status mlxn_gather_nibble(mlxn_encoder *encoder, mlxn_tensor packed, mlxn_tensor table,
                                        mlxn_tensor out);

/* out[t, j, :] = x[t, j, :] + bias[min(ids[t, j], E - 1), :]. x, out: [T, K, D]; bias: [E, D], one dtype (f32, f16,
 * bf16); ids: [T, K] u32. out may be x. */
MLXN_API mlxn_status mlxn_add_id(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor bias, mlxn_tensor ids,
                                 mlxn_tensor out);

/* dx = r (dy w - x s r^2 / D), s = sum(dy w x) over the row and r = 1 / sqrt(mean(x^2) + eps), of reduce with
 * RMS_INV. x, dy, dx: [R, D], one dtype (f32, f16, bf16); w: optional [D] f32; r: [R] f32. dx may be x or dy. */
MLXN_API mlxn_status mlxn_rms_norm_backward_dx(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor dy,
                                               mlxn_tensor r, mlxn_tensor dx);

/* dw[i] = sum over the rows of dy[r, i] x[r, i] r[r]. x, dy: [R, D], one dtype (f32, f16, bf16); r: [R] f32, as in
 * rms_norm_backward_dx; dw: [D] f32. */
MLXN_API mlxn_status mlxn_rms_norm_backward_dw(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dy, mlxn_tensor r,
                                               mlxn_tensor dw);

/* out = x encoded in a format and decoded again, row by row, bit for bit as mlxn_quantize_row and
 * mlxn_dequantize_row; a block with a value that the format cannot hold becomes NaN. x, out: f32, the last dim a
 * multiple of the block. UNSUPPORTED at execution for formats without an encoder. out may be x. */
MLXN_API mlxn_status mlxn_qdq(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_qdq_params *params);

/* out[i] = start + i step, computed in double. out: [n], any dtype. */
MLXN_API mlxn_status mlxn_arange(mlxn_encoder *encoder, mlxn_tensor out, const mlxn_arange_params *params);

/* out with x at the index `before`, and around it a value, the nearest element, x mirrored or x repeated
 * (mlxn_pad_mode); axes of x may be read backwards. Same rank and dtype (any). WRAP rotates where out has the dims of
 * x: out[i] = x[(i - before) mod n]. */
MLXN_API mlxn_status mlxn_pad(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_pad_params *params);

/* out = x, but value above (upper: below) the diagonal j = i + diagonal of the last two axes. Same dims and dtype
 * (f32, f16, bf16). -infinity makes a causal mask, 0 a triangle. out may be x. */
MLXN_API mlxn_status mlxn_diag_mask(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                    const mlxn_diag_mask_params *params);

/* out[n, :] = cos(t[n] f), sin(t[n] f), f[j] = max_period^(-j / half), half = D / 2; 0 in an odd last place. Angles
 * in double. t: [N] f32; out: [N, D] f32. */
MLXN_API mlxn_status mlxn_timestep_embedding(mlxn_encoder *encoder, mlxn_tensor t, mlxn_tensor out,
                                             const mlxn_timestep_embedding_params *params);

/* loss[r] = ln sum e^logits[r, :] - logits[r, targets[r]]; 0 where targets[r] is past the end. logits: [R, N] f32,
 * f16, bf16; targets: [R] u32; loss: [R] f32. */
MLXN_API mlxn_status mlxn_cross_entropy(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor targets,
                                        mlxn_tensor loss);

/* dx[r, i] = dloss[r] (softmax(logits[r, :])[i] - (i == targets[r])); 0 where targets[r] is past the end. Shapes of
 * cross_entropy; dx: dims and dtype of logits. dx may be logits. */
MLXN_API mlxn_status mlxn_cross_entropy_backward(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor targets,
                                                 mlxn_tensor dloss, mlxn_tensor dx);

/* dgate = dy up fn'(gate), dup = dy fn(gate), the gradients of glu with the same parameters. Same dims and dtype
 * (f32, f16, bf16). */
MLXN_API mlxn_status mlxn_glu_backward(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor dy,
                                       mlxn_tensor dgate, mlxn_tensor dup, const mlxn_glu_params *params);

/* One step of AdamW (Loshchilov & Hutter 2019): m = beta1 m + (1 - beta1) grad, v = beta2 v + (1 - beta2) grad^2,
 * param -= lr weight_decay param, param -= lr (m / correction1) / (sqrt(v / correction2) + eps). f32, same dims; each
 * element in double, rounded once. */
MLXN_API mlxn_status mlxn_adamw(mlxn_encoder *encoder, mlxn_tensor grad, mlxn_tensor m, mlxn_tensor v,
                                mlxn_tensor param, const mlxn_adamw_params *params);

/* One step of gradient descent: g = grad + weight_decay param; with a velocity: velocity = momentum velocity + g, and
 * g = velocity, or g + momentum velocity (Nesterov); param -= lr g. f32, same dims; velocity: optional without
 * momentum. */
MLXN_API mlxn_status mlxn_sgd(mlxn_encoder *encoder, mlxn_tensor grad, mlxn_tensor velocity, mlxn_tensor param,
                              const mlxn_sgd_params *params);

/* The gradients of out = softmax(scale q k' + mask) v for dout: dq, dk, dv. q, dq: [H, T, D]; k, dk: [Hk, S, D]; v,
 * dv: [Hk, S, Dv]; dout: [H, T, Dv]; H a multiple of Hk, head h reads h / (H / Hk); mask: optional [T, S], added;
 * causal: row t sees the keys up to t + S - T. f32. Rows that see nothing give 0. */
MLXN_API mlxn_status mlxn_attention_backward(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k, mlxn_tensor v,
                                             mlxn_tensor dout, mlxn_tensor mask, mlxn_tensor dq, mlxn_tensor dk,
                                             mlxn_tensor dv, const mlxn_attention_backward_params *params);

/* Gated delta rule (Yang et al. 2024), per head and token: M = e^g M; d = beta (v - M k); M = M + d k^T; out = scale
 * M q. q, k: [S, T, Hk, Dk]; v, out: [S, T, H, Dv], same dtype (f32, f16, bf16); g: log-decay <= 0, [S, T, H] or [S,
 * T, H, Dk] f32 (a decay per key channel); beta: [S, T, H] f32; state M: [N, H, Dv, Dk] f32, changed in place; slots:
 * optional [S] u32, the state of each sequence (its own number where absent). A sequence whose slot is >= N gives
 * zeros; sequences that share one go on from one another in their order. */
MLXN_API mlxn_status mlxn_gated_delta_net(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k, mlxn_tensor v,
                                          mlxn_tensor g, mlxn_tensor beta, mlxn_tensor slots, mlxn_tensor state,
                                          mlxn_tensor out, const mlxn_gated_delta_net_params *params);

/* Gated linear attention (Yang et al. 2023), per head and token: M[j, i] = g[i] M[j, i] + v[j] k[i]; out[j] = scale
 * sum over i of M[j, i] q[i]. q, k, g: [S, T, H, Dk]; v, out: [S, T, H, Dv], all of one dtype; g is the factor
 * itself, in [0, 1]; slots, state: as in gated_delta_net. */
MLXN_API mlxn_status mlxn_gla(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k, mlxn_tensor v, mlxn_tensor g,
                              mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out, const mlxn_gla_params *params);

/* RWKV 6 (Peng et al. 2024), per head and token: out[j] = sum over i of r[i] (M[j, i] + u[i] k[i] v[j]); M[j, i] =
 * w[i] M[j, i] + k[i] v[j]. r, k, w: [S, T, H, Dk]; v, out: [S, T, H, Dv], all of one dtype; w is the factor itself,
 * in [0, 1]; u: [H, Dk] f32; slots, state: as in gated_delta_net. */
MLXN_API mlxn_status mlxn_wkv6(mlxn_encoder *encoder, mlxn_tensor r, mlxn_tensor k, mlxn_tensor v, mlxn_tensor w,
                               mlxn_tensor u, mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out);

/* RWKV 7 (Peng et al. 2025), per head and token: s[j] = sum over i of a[i] M[j, i]; M[j, i] = w[i] M[j, i] + v[j]
 * k[i] + s[j] b[i]; out[j] = sum over i of M[j, i] r[i]. r, w, k, a, b: [S, T, H, Dk]; v, out: [S, T, H, Dv], all of
 * one dtype; w is the factor itself; state M: [N, H, Dv, Dk] f32, N >= S, changed in place; sequence s has state
 * s. */
MLXN_API mlxn_status mlxn_wkv7(mlxn_encoder *encoder, mlxn_tensor r, mlxn_tensor w, mlxn_tensor k, mlxn_tensor v,
                               mlxn_tensor a, mlxn_tensor b, mlxn_tensor state, mlxn_tensor out);

/* Selective scan of Mamba 2 and 1 (Dao & Gu 2024), per head and token: M[p, n] = e^(dt a) M[p, n] + dt x[p] b[n];
 * out[p] = sum over n of M[p, n] c[n]. x, out: [S, T, H, P]; b, c: [S, T, G, N], head h takes group h / (H / G); all
 * of one dtype; dt: [S, T, H] f32, through softplus where asked; a: negative, [H] or [H, N] f32 (Mamba 1: P = 1);
 * slots: optional [S] u32; state M: [slots, H, P, N] f32; both as in gated_delta_net. The skip x D and the gate are
 * not part of it. */
MLXN_API mlxn_status mlxn_ssm_scan(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dt, mlxn_tensor a, mlxn_tensor b,
                                   mlxn_tensor c, mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out,
                                   const mlxn_ssm_scan_params *params);

/* Causal convolution of each channel, with what came before: with e = the state followed by x, out[s, t, c] = bias[c]
 * + sum over k of w[c, k] e[t + k], through silu where asked; the state becomes the last K - 1 of e. x, out: [S, T,
 * C], same dtype (f32, f16, bf16); w: [C, K], K >= 2; bias: optional [C]; state: [N, C, K - 1], oldest first; slots:
 * optional [S] u32, the state of each sequence (its own number where absent). A sequence whose slot is >= N gives
 * zeros; sequences that share one go on from one another in their order. out may be x. */
MLXN_API mlxn_status mlxn_ssm_conv(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                   mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out,
                                   const mlxn_ssm_conv_params *params);

/* The gates of the delta rule: g = softplus(a + dt_bias) * rate, the log-decay (<= 0); beta = sigmoid(b). softplus(z)
 * is z above 20. a, b: [T, H], same dtype (f32, f16, bf16); dt_bias, rate: [H] f32, rate = -e^{A_log}; g, beta: [T,
 * H] f32. */
MLXN_API mlxn_status mlxn_compute_g_beta(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor dt_bias,
                                         mlxn_tensor rate, mlxn_tensor g, mlxn_tensor beta);

/* Solves L x = b for each matrix: x[i] = b[i] - sum over j < i of L[i, j] x[j]. L: [B, N, N], unit lower triangular:
 * its diagonal and what is above are not read; b, x: [B, N, M]; all of one dtype (f32, f16, bf16), sums in f32 over
 * unrounded x. */
MLXN_API mlxn_status mlxn_tri_solve(mlxn_encoder *encoder, mlxn_tensor l, mlxn_tensor b, mlxn_tensor x);

/* out[n, y, x, o] = bias[o] + sum over ky, kx, c of w[o, ky, kx, c] in[n, y sy + ky dy - py, x sx + kx dx - px, c],
 * zeros outside. x: [N, H, W, C]; w: [O, KH, KW, C / groups]; bias: optional [O]; out: [N, OH, OW, O], dtype of x;
 * output channel o reads the channels of its group. Other orders of the dims are views. */
MLXN_API mlxn_status mlxn_conv2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                 mlxn_tensor out, const mlxn_conv2d_params *params);

/* conv2d of height 1. x: [N, L, C]; w: [O, K, C / groups]; bias: optional [O]; out: [N, OL, O]. */
MLXN_API mlxn_status mlxn_conv1d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                 mlxn_tensor out, const mlxn_conv1d_params *params);

/* The transposed convolution: in[n, y, x, c] adds w[o, ky, kx, c] times itself to out[n, y sy + ky dy - py, x sx + kx
 * dx - px, o]. Arguments as in conv2d; OH is (H - 1) sy - 2 py + dy (KH - 1) + 1, or up to sy - 1 more, OW the
 * same. */
MLXN_API mlxn_status mlxn_conv_transpose2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                           mlxn_tensor out, const mlxn_conv2d_params *params);

/* conv_transpose2d of height 1. x: [N, L, C]; w: [O, K, C / groups]; bias: optional [O]; out: [N, OL, O]. */
MLXN_API mlxn_status mlxn_conv_transpose1d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                           mlxn_tensor out, const mlxn_conv1d_params *params);

/* The largest or the average of each window. x: [N, H, W, C]; out: [N, OH, OW, C], same dtype (f32, f16, bf16); OH is
 * (H + 2 pad - kernel) / stride + 1, rounded down or up, where the last window still begins inside. The padding is
 * never the largest; NaN are passed over by max (-inf where nothing else is there). One dim: H = 1. */
MLXN_API mlxn_status mlxn_pool2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                 const mlxn_pool2d_params *params);

/* An image in another size: nearest, bilinear or bicubic neighbours (the border is repeated), or bilinear with
 * antialias: the mean under a triangle max(1, H / OH) wide on either side. x: [N, H, W, C]; out: [N, OH, OW, C], same
 * dtype (f32, f16, bf16). */
MLXN_API mlxn_status mlxn_resize2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                   const mlxn_resize2d_params *params);

/* out[n, y, x, (c KH + ky) KW + kx] = in[n, y sy + ky dy - py, x sx + kx dx - px, c], zeros outside: the rows that a
 * convolution multiplies. x: [N, H, W, C]; out: [N, OH, OW, C KH KW], same dtype (f32, f16, bf16). */
MLXN_API mlxn_status mlxn_im2col(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                 const mlxn_im2col_params *params);

/* Products with matrices chosen per token: with slot s = t * k + j, out[s, n] = sum_c x[row, c] * w[ids[t, j]][n, c]
 * + bias[ids[t, j], n], where row is t if x has T rows, and s if it has T * k. A slot whose id names no matrix gives
 * zeros. x: [T or T * k, K] f32/f16/bf16; w: stack of E weights [N, K]; ids: [T, k] or [T] u32; bias: optional [E, N]
 * f32; out: [T * k, N] f32. Slots are sorted by matrix, so that each is read once. Precision as in matmul. */
MLXN_API mlxn_status mlxn_matmul_id(mlxn_encoder *encoder, mlxn_tensor x, mlxn_weight *w, mlxn_tensor ids,
                                    mlxn_tensor bias, mlxn_tensor out);

/* out[..., m, n] = sum_k a[..., m, k] * b[..., n, k]: rows of both, like matmul with a tensor for a weight; for a b
 * of [K, N] pass its transposed view. a: [..., M, K], b: [..., N, K], out: [..., M, N], each f32/f16/bf16 and of the
 * same rank, 2 to 4. A leading dim of b divides that of a: each of its matrices serves that many of a's in a row.
 * Sums are binary32; the result is rounded once. With dy the gradient of out, da = dense_matmul(dy, b transposed) and
 * db = dense_matmul(dy transposed, a transposed). */
MLXN_API mlxn_status mlxn_dense_matmul(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out);

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

/* The gradients of out = n w + b, n = (x - mean) / sqrt(variance + eps), for dy: dx = (g - mean(g) - n mean(g n)) /
 * sqrt(variance + eps) with g = dy w, dw = sum of dy n and db = sum of dy over the rows. x, dy, dx: [R, D], one dtype
 * (f32, f16, bf16); w, dw, db: optional, [D] f32. */
MLXN_API mlxn_status mlxn_layer_norm_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor dy,
                                              mlxn_tensor dw, mlxn_tensor db, mlxn_tensor dx,
                                              const mlxn_rms_norm_params *params);

/* The gradients of y[b, t, c] = sum over k of w[c, k] x[b, t - K + 1 + k, c], 0 before the first t, for dy. x, dy,
 * dx: [B, T, C], one dtype (f32, f16, bf16); w, dw: [C, K] f32. */
MLXN_API mlxn_status mlxn_conv1d_causal_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor dy,
                                                 mlxn_tensor dw, mlxn_tensor dx);

/* out[r, index[r, j]] = x[r, j]; of equal indices the last one counts, those past the end of a row are left out. x:
 * [R, M], any dtype; index: [R, M] u32; out: [R, N], dtype of x; its other elements stay as they are. */
MLXN_API mlxn_status mlxn_put_along(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out);

/* out[r, index[r, j]] += x[r, j] for all j, in rising order, in f32, rounded once; rules of put_along, f32, f16,
 * bf16. The gradient of take_along. */
MLXN_API mlxn_status mlxn_put_along_add(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out);

/* out[0] = how many elements of a equal those of b at the same place; NaN equals nothing. a, b: same dims, at most
 * 2^32 - 1 elements, one dtype (any); out: [1] u32. */
MLXN_API mlxn_status mlxn_count_equal(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out);

/* conv2d with a depth: x: [N D, H, W, C], D planes per image one after another, D in the parameters; w: [O KD, KH,
 * KW, C / groups], KD in the parameters; bias: optional [O]; out: [N OD, OH, OW, O], dtype of x. */
MLXN_API mlxn_status mlxn_conv3d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                 mlxn_tensor out, const mlxn_conv3d_params *params);

/* The gradient of pool2d with the same parameters: dx = the sum over the windows that hold an element of what falls
 * to it: dy / places of averages, all of dy to the first of the largest (to the first of a window that has none). x,
 * dx: [N, H, W, C]; dy: [N, OH, OW, C], one dtype (f32, f16, bf16); x may be absent for averages. */
MLXN_API mlxn_status mlxn_pool2d_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dy, mlxn_tensor dx,
                                          const mlxn_pool2d_params *params);

/* The gradient of im2col: out[n, y sy + ky dy - py, x sx + kx dx - px, c] = the sum of in[n, y, x, (c KH + ky) KW +
 * kx] over all that fall there, in f32, rounded once. x: [N, OH, OW, C KH KW]; out: [N, H, W, C], same dtype (f32,
 * f16, bf16); H and W say how large the image was. */
MLXN_API mlxn_status mlxn_col2im(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                                 const mlxn_im2col_params *params);

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
/* The libraries whose results the operation's reference was compared with, "mlx, torch"; NULL if there is no
 * such operation. The results are files of tests/vectors/ops. */
MLXN_API const char *mlxn_op_oracles(mlxn_op op);

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
