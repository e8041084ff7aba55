/* ops_typed.c: the typed functions of mlxn/ops.h: each lists its arguments in the order of the operation's argument
 * table and ends in mlxn_encode. Printed by `check --print-ops-typed`; do not edit by hand. */
#include "ops/op.h"

static mlxn_arg arg(const mlxn_tensor *t) { return (mlxn_arg){.tensor = t}; }
static mlxn_arg opt(const mlxn_tensor *t) { return (mlxn_arg){.tensor = t->buffer ? t : NULL}; }
static mlxn_arg weight(mlxn_weight *w) { return (mlxn_arg){.weight = w}; }

mlxn_status mlxn_elementwise_add(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&a), arg(&b), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_elementwise_add, args, 3, NULL, 0);
}

mlxn_status mlxn_elementwise_mul(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&a), arg(&b), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_elementwise_mul, args, 3, NULL, 0);
}

mlxn_status mlxn_scalar_mul(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                            const mlxn_scalar_mul_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_scalar_mul, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_cast(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_cast, args, 2, NULL, 0);
}

mlxn_status mlxn_copy(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_copy, args, 2, NULL, 0);
}

mlxn_status mlxn_gather(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&index), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_gather, args, 3, NULL, 0);
}

mlxn_status mlxn_embedding(mlxn_encoder *encoder, mlxn_tensor ids, mlxn_weight *table, mlxn_tensor out,
                           const mlxn_embedding_params *params) {
    const mlxn_arg args[] = {arg(&ids), weight(table), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_embedding, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_argmax(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_argmax, args, 2, NULL, 0);
}

mlxn_status mlxn_softcap(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_softcap_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_softcap, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_silu_mul(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&gate), arg(&up), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_silu_mul, args, 3, NULL, 0);
}

mlxn_status mlxn_gelu_mul(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&gate), arg(&up), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_gelu_mul, args, 3, NULL, 0);
}

mlxn_status mlxn_rms_norm(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor out,
                          const mlxn_rms_norm_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&w), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_rms_norm, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_norm_add(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor residual, mlxn_tensor out,
                          const mlxn_rms_norm_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&w), arg(&residual), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_norm_add, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_rope(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor positions, mlxn_tensor factors,
                      mlxn_tensor out, const mlxn_rope_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&positions), opt(&factors), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_rope, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_matmul(mlxn_encoder *encoder, mlxn_tensor x, mlxn_weight *w, mlxn_tensor bias, mlxn_tensor residual,
                        mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), weight(w), opt(&bias), opt(&residual), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_matmul, args, 5, NULL, 0);
}

mlxn_status mlxn_kv_write(mlxn_encoder *encoder, mlxn_tensor k, mlxn_tensor v, mlxn_tensor sequences,
                          mlxn_tensor positions, mlxn_tensor k_cache, mlxn_tensor v_cache,
                          const mlxn_kv_write_params *params) {
    const mlxn_arg args[] = {arg(&k), arg(&v), arg(&sequences), arg(&positions), arg(&k_cache), arg(&v_cache)};
    return mlxn_encode(encoder, MLXN_OP_kv_write, args, 6, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_attention(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k_cache, mlxn_tensor v_cache,
                           mlxn_tensor sequences, mlxn_tensor positions, mlxn_tensor sinks, mlxn_tensor mask,
                           mlxn_tensor out, const mlxn_attention_params *params) {
    const mlxn_arg args[] = {arg(&q), arg(&k_cache), arg(&v_cache), arg(&sequences), arg(&positions), opt(&sinks),
                             opt(&mask), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_attention, args, 8, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_silu(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_silu, args, 2, NULL, 0);
}

mlxn_status mlxn_gelu(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_gelu, args, 2, NULL, 0);
}

mlxn_status mlxn_norm_rope(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor positions,
                           mlxn_tensor factors, mlxn_tensor out, const mlxn_norm_rope_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&w), arg(&positions), opt(&factors), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_norm_rope, args, 5, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_row_norm(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor residual, mlxn_tensor w, mlxn_tensor bias,
                          mlxn_tensor add, mlxn_tensor scale, mlxn_tensor sum_out, mlxn_tensor out,
                          const mlxn_row_norm_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&residual), opt(&w), opt(&bias), opt(&add), opt(&scale), opt(&sum_out),
                             arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_row_norm, args, 8, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_norm_multi(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor post_w, mlxn_tensor residual,
                            mlxn_tensor w, mlxn_tensor sum_out, mlxn_tensor out,
                            const mlxn_norm_multi_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&post_w), opt(&residual), arg(&w), opt(&sum_out), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_norm_multi, args, 6, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_moe_sum_norm(mlxn_encoder *encoder, mlxn_tensor experts, mlxn_tensor weights, mlxn_tensor w,
                              mlxn_tensor base, mlxn_tensor base_w, mlxn_tensor out,
                              const mlxn_moe_sum_norm_params *params) {
    const mlxn_arg args[] = {arg(&experts), arg(&weights), opt(&w), arg(&base), opt(&base_w), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_moe_sum_norm, args, 6, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_ssm_norm_gate(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor z, mlxn_tensor out,
                               const mlxn_norm_gate_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&w), arg(&z), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_ssm_norm_gate, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_group_norm(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias, mlxn_tensor out,
                            const mlxn_group_norm_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&w), opt(&bias), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_group_norm, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_rope_multi(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor positions, mlxn_tensor factors,
                            mlxn_tensor out, const mlxn_rope_multi_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&positions), opt(&factors), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_rope_multi, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_kv_read(mlxn_encoder *encoder, mlxn_tensor cache, mlxn_tensor sequences, mlxn_tensor positions,
                         mlxn_tensor out, const mlxn_kv_read_params *params) {
    const mlxn_arg args[] = {arg(&cache), arg(&sequences), arg(&positions), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_kv_read, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_hadamard(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_hadamard_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_hadamard, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_unary(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_unary_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_unary, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_unary_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dy, mlxn_tensor dx,
                                const mlxn_unary_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&dy), arg(&dx)};
    return mlxn_encode(encoder, MLXN_OP_unary_backward, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_binary(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out,
                        const mlxn_binary_params *params) {
    const mlxn_arg args[] = {arg(&a), arg(&b), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_binary, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_compare(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out,
                         const mlxn_compare_params *params) {
    const mlxn_arg args[] = {arg(&a), arg(&b), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_compare, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_where(mlxn_encoder *encoder, mlxn_tensor condition, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&condition), arg(&a), arg(&b), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_where, args, 4, NULL, 0);
}

mlxn_status mlxn_glu(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor out,
                     const mlxn_glu_params *params) {
    const mlxn_arg args[] = {arg(&gate), arg(&up), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_glu, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_fill_value(mlxn_encoder *encoder, mlxn_tensor out, const mlxn_fill_value_params *params) {
    const mlxn_arg args[] = {arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_fill_value, args, 1, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_argmin(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_argmin, args, 2, NULL, 0);
}

mlxn_status mlxn_reduce(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_reduce_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_reduce, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_scan(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_scan_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_scan, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_argsort(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_argsort_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_argsort, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_sort(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_argsort_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_sort, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_top_k(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor indices, mlxn_tensor values) {
    const mlxn_arg args[] = {arg(&x), arg(&indices), opt(&values)};
    return mlxn_encode(encoder, MLXN_OP_top_k, args, 3, NULL, 0);
}

mlxn_status mlxn_softmax(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor mask, mlxn_tensor out,
                         const mlxn_softmax_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&mask), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_softmax, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_softmax_backward(mlxn_encoder *encoder, mlxn_tensor y, mlxn_tensor dy, mlxn_tensor dx) {
    const mlxn_arg args[] = {arg(&y), arg(&dy), arg(&dx)};
    return mlxn_encode(encoder, MLXN_OP_softmax_backward, args, 3, NULL, 0);
}

mlxn_status mlxn_softmax_sample(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor uniform, mlxn_tensor token,
                                mlxn_tensor logprob, const mlxn_softmax_sample_params *params) {
    const mlxn_arg args[] = {arg(&logits), arg(&uniform), arg(&token), arg(&logprob)};
    return mlxn_encode(encoder, MLXN_OP_softmax_sample, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_scatter(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&index), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_scatter, args, 3, NULL, 0);
}

mlxn_status mlxn_scatter_add(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&index), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_scatter_add, args, 3, NULL, 0);
}

mlxn_status mlxn_take_along(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&index), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_take_along, args, 3, NULL, 0);
}

mlxn_status mlxn_gather_nibble(mlxn_encoder *encoder, mlxn_tensor packed, mlxn_tensor table, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&packed), arg(&table), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_gather_nibble, args, 3, NULL, 0);
}

mlxn_status mlxn_add_id(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor bias, mlxn_tensor ids, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&bias), arg(&ids), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_add_id, args, 4, NULL, 0);
}

mlxn_status mlxn_rms_norm_backward_dx(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor dy,
                                      mlxn_tensor r, mlxn_tensor dx) {
    const mlxn_arg args[] = {arg(&x), opt(&w), arg(&dy), arg(&r), arg(&dx)};
    return mlxn_encode(encoder, MLXN_OP_rms_norm_backward_dx, args, 5, NULL, 0);
}

mlxn_status mlxn_rms_norm_backward_dw(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dy, mlxn_tensor r,
                                      mlxn_tensor dw) {
    const mlxn_arg args[] = {arg(&x), arg(&dy), arg(&r), arg(&dw)};
    return mlxn_encode(encoder, MLXN_OP_rms_norm_backward_dw, args, 4, NULL, 0);
}

mlxn_status mlxn_qdq(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_qdq_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_qdq, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_arange(mlxn_encoder *encoder, mlxn_tensor out, const mlxn_arange_params *params) {
    const mlxn_arg args[] = {arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_arange, args, 1, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_pad(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_pad_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_pad, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_diag_mask(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out,
                           const mlxn_diag_mask_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_diag_mask, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_timestep_embedding(mlxn_encoder *encoder, mlxn_tensor t, mlxn_tensor out,
                                    const mlxn_timestep_embedding_params *params) {
    const mlxn_arg args[] = {arg(&t), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_timestep_embedding, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_cross_entropy(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor targets, mlxn_tensor loss) {
    const mlxn_arg args[] = {arg(&logits), arg(&targets), arg(&loss)};
    return mlxn_encode(encoder, MLXN_OP_cross_entropy, args, 3, NULL, 0);
}

mlxn_status mlxn_cross_entropy_backward(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor targets,
                                        mlxn_tensor dloss, mlxn_tensor dx) {
    const mlxn_arg args[] = {arg(&logits), arg(&targets), arg(&dloss), arg(&dx)};
    return mlxn_encode(encoder, MLXN_OP_cross_entropy_backward, args, 4, NULL, 0);
}

mlxn_status mlxn_glu_backward(mlxn_encoder *encoder, mlxn_tensor gate, mlxn_tensor up, mlxn_tensor dy,
                              mlxn_tensor dgate, mlxn_tensor dup, const mlxn_glu_params *params) {
    const mlxn_arg args[] = {arg(&gate), arg(&up), arg(&dy), arg(&dgate), arg(&dup)};
    return mlxn_encode(encoder, MLXN_OP_glu_backward, args, 5, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_adamw(mlxn_encoder *encoder, mlxn_tensor grad, mlxn_tensor m, mlxn_tensor v, mlxn_tensor param,
                       const mlxn_adamw_params *params) {
    const mlxn_arg args[] = {arg(&grad), arg(&m), arg(&v), arg(&param)};
    return mlxn_encode(encoder, MLXN_OP_adamw, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_sgd(mlxn_encoder *encoder, mlxn_tensor grad, mlxn_tensor velocity, mlxn_tensor param,
                     const mlxn_sgd_params *params) {
    const mlxn_arg args[] = {arg(&grad), opt(&velocity), arg(&param)};
    return mlxn_encode(encoder, MLXN_OP_sgd, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_attention_backward(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k, mlxn_tensor v,
                                    mlxn_tensor dout, mlxn_tensor mask, mlxn_tensor dq, mlxn_tensor dk,
                                    mlxn_tensor dv, const mlxn_attention_backward_params *params) {
    const mlxn_arg args[] = {arg(&q), arg(&k), arg(&v), arg(&dout), opt(&mask), arg(&dq), arg(&dk), arg(&dv)};
    return mlxn_encode(encoder, MLXN_OP_attention_backward, args, 8, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_gated_delta_net(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k, mlxn_tensor v, mlxn_tensor g,
                                 mlxn_tensor beta, mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out,
                                 const mlxn_gated_delta_net_params *params) {
    const mlxn_arg args[] = {arg(&q), arg(&k), arg(&v), arg(&g), arg(&beta), opt(&slots), arg(&state), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_gated_delta_net, args, 8, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_gla(mlxn_encoder *encoder, mlxn_tensor q, mlxn_tensor k, mlxn_tensor v, mlxn_tensor g,
                     mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out, const mlxn_gla_params *params) {
    const mlxn_arg args[] = {arg(&q), arg(&k), arg(&v), arg(&g), opt(&slots), arg(&state), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_gla, args, 7, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_wkv6(mlxn_encoder *encoder, mlxn_tensor r, mlxn_tensor k, mlxn_tensor v, mlxn_tensor w,
                      mlxn_tensor u, mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&r), arg(&k), arg(&v), arg(&w), arg(&u), opt(&slots), arg(&state), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_wkv6, args, 8, NULL, 0);
}

mlxn_status mlxn_wkv7(mlxn_encoder *encoder, mlxn_tensor r, mlxn_tensor w, mlxn_tensor k, mlxn_tensor v,
                      mlxn_tensor a, mlxn_tensor b, mlxn_tensor state, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&r), arg(&w), arg(&k), arg(&v), arg(&a), arg(&b), arg(&state), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_wkv7, args, 8, NULL, 0);
}

mlxn_status mlxn_ssm_scan(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dt, mlxn_tensor a, mlxn_tensor b,
                          mlxn_tensor c, mlxn_tensor slots, mlxn_tensor state, mlxn_tensor out,
                          const mlxn_ssm_scan_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&dt), arg(&a), arg(&b), arg(&c), opt(&slots), arg(&state), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_ssm_scan, args, 8, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_ssm_conv(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias, mlxn_tensor slots,
                          mlxn_tensor state, mlxn_tensor out, const mlxn_ssm_conv_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&w), opt(&bias), opt(&slots), arg(&state), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_ssm_conv, args, 6, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_compute_g_beta(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor dt_bias,
                                mlxn_tensor rate, mlxn_tensor g, mlxn_tensor beta) {
    const mlxn_arg args[] = {arg(&a), arg(&b), arg(&dt_bias), arg(&rate), arg(&g), arg(&beta)};
    return mlxn_encode(encoder, MLXN_OP_compute_g_beta, args, 6, NULL, 0);
}

mlxn_status mlxn_tri_solve(mlxn_encoder *encoder, mlxn_tensor l, mlxn_tensor b, mlxn_tensor x) {
    const mlxn_arg args[] = {arg(&l), arg(&b), arg(&x)};
    return mlxn_encode(encoder, MLXN_OP_tri_solve, args, 3, NULL, 0);
}

mlxn_status mlxn_conv2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias, mlxn_tensor out,
                        const mlxn_conv2d_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&w), opt(&bias), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_conv2d, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_conv1d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias, mlxn_tensor out,
                        const mlxn_conv1d_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&w), opt(&bias), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_conv1d, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_conv_transpose2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                  mlxn_tensor out, const mlxn_conv2d_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&w), opt(&bias), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_conv_transpose2d, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_conv_transpose1d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias,
                                  mlxn_tensor out, const mlxn_conv1d_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&w), opt(&bias), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_conv_transpose1d, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_pool2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_pool2d_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_pool2d, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_resize2d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_resize2d_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_resize2d, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_im2col(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_im2col_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_im2col, args, 2, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_matmul_id(mlxn_encoder *encoder, mlxn_tensor x, mlxn_weight *w, mlxn_tensor ids, mlxn_tensor bias,
                           mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), weight(w), arg(&ids), opt(&bias), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_matmul_id, args, 5, NULL, 0);
}

mlxn_status mlxn_dense_matmul(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&a), arg(&b), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_dense_matmul, args, 3, NULL, 0);
}

mlxn_status mlxn_moe_route(mlxn_encoder *encoder, mlxn_tensor logits, mlxn_tensor bias, mlxn_tensor scale,
                           mlxn_tensor ids, mlxn_tensor weights, const mlxn_moe_route_params *params) {
    const mlxn_arg args[] = {arg(&logits), opt(&bias), opt(&scale), arg(&ids), arg(&weights)};
    return mlxn_encode(encoder, MLXN_OP_moe_route, args, 5, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_moe_sum(mlxn_encoder *encoder, mlxn_tensor experts, mlxn_tensor weights, mlxn_tensor shared,
                         mlxn_tensor gate, mlxn_tensor residual, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&experts), arg(&weights), opt(&shared), opt(&gate), opt(&residual), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_moe_sum, args, 6, NULL, 0);
}

mlxn_status mlxn_layer_norm_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor dy,
                                     mlxn_tensor dw, mlxn_tensor db, mlxn_tensor dx,
                                     const mlxn_rms_norm_params *params) {
    const mlxn_arg args[] = {arg(&x), opt(&w), arg(&dy), opt(&dw), opt(&db), arg(&dx)};
    return mlxn_encode(encoder, MLXN_OP_layer_norm_backward, args, 6, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_conv1d_causal_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor dy,
                                        mlxn_tensor dw, mlxn_tensor dx) {
    const mlxn_arg args[] = {arg(&x), arg(&w), arg(&dy), arg(&dw), arg(&dx)};
    return mlxn_encode(encoder, MLXN_OP_conv1d_causal_backward, args, 5, NULL, 0);
}

mlxn_status mlxn_put_along(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&index), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_put_along, args, 3, NULL, 0);
}

mlxn_status mlxn_put_along_add(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor index, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&x), arg(&index), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_put_along_add, args, 3, NULL, 0);
}

mlxn_status mlxn_count_equal(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out) {
    const mlxn_arg args[] = {arg(&a), arg(&b), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_count_equal, args, 3, NULL, 0);
}

mlxn_status mlxn_conv3d(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor w, mlxn_tensor bias, mlxn_tensor out,
                        const mlxn_conv3d_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&w), opt(&bias), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_conv3d, args, 4, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_pool2d_backward(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor dy, mlxn_tensor dx,
                                 const mlxn_pool2d_params *params) {
    const mlxn_arg args[] = {opt(&x), arg(&dy), arg(&dx)};
    return mlxn_encode(encoder, MLXN_OP_pool2d_backward, args, 3, params, params ? sizeof *params : 0);
}

mlxn_status mlxn_col2im(mlxn_encoder *encoder, mlxn_tensor x, mlxn_tensor out, const mlxn_im2col_params *params) {
    const mlxn_arg args[] = {arg(&x), arg(&out)};
    return mlxn_encode(encoder, MLXN_OP_col2im, args, 2, params, params ? sizeof *params : 0);
}
