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
