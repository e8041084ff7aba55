/* graph.c: a pipeline that is recorded once, and then patched and launched for every input.
 *
 *     cc graph.c $(pkg-config --cflags --libs mlxn) -o graph && ./graph
 *
 * y = silu(a) * b + c, recorded as three operations with temporaries between them. Instantiating fuses the first two,
 * lays the temporaries into one allocation and chooses the barriers; a launch then costs nanoseconds per node. */
#include <mlxn/mlxn.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 4096, INPUTS = 3 };

static void must(mlxn_status status, const mlxn_error *error) {
    if (!status) return;
    fprintf(stderr, "graph: %s\n", error->message);
    exit(1);
}

static mlxn_tensor vector(mlxn_device *device, float value) {
    mlxn_error error;
    mlxn_buffer *buffer = NULL;
    must(mlxn_buffer_create(device, N * sizeof(float), &buffer, &error), &error);
    float *data = mlxn_buffer_contents(buffer);
    for (int i = 0; i < N; i++) data[i] = value;
    return mlxn_tensor_1d(buffer, 0, MLXN_F32, N);
}

int main(void) {
    mlxn_error error;
    mlxn_device *device = NULL;
    mlxn_encoder *encoder = NULL;
    must(mlxn_device_create(NULL, &device, &error), &error);
    must(mlxn_encoder_create(device, &encoder, &error), &error);
    mlxn_tensor a[INPUTS] = {vector(device, 1), vector(device, 2), vector(device, 3)};
    mlxn_tensor b = vector(device, 10), c = vector(device, 100), y = vector(device, 0);

    /* 1. Capture: the calls that would record into a command buffer go into a list. */
    must(mlxn_encoder_start_capture(encoder, &error), &error);
    mlxn_buffer *scratch[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++)
        must(mlxn_encoder_temporary(encoder, N * sizeof(float), &scratch[i], &error), &error);
    mlxn_tensor t0 = mlxn_tensor_1d(scratch[0], 0, MLXN_F32, N), t1 = mlxn_tensor_1d(scratch[1], 0, MLXN_F32, N);
    mlxn_silu(encoder, a[0], t0);
    mlxn_elementwise_mul(encoder, t0, b, t1);
    mlxn_elementwise_add(encoder, t1, c, y);

    /* 2. Instantiate: fused where nobody can see the difference, reordered into the fewest groups. */
    mlxn_graph *graph = NULL;
    mlxn_graph_desc desc = {.struct_size = sizeof desc, .fuse = MLXN_FUSE_EXACT, .reorder = true};
    must(mlxn_encoder_take_capture_with(encoder, &desc, &graph, &error), &error);
    for (int i = 0; i < 2; i++) mlxn_buffer_release(&scratch[i]); /* the graph holds what it needs */
    mlxn_graph_info info = {.struct_size = sizeof info};
    mlxn_graph_get_info(graph, &info);
    printf("%d nodes, %d fused, %d barriers, %d bytes of temporaries instead of %d\n", (int)info.nodes,
           (int)info.fusions, (int)info.barriers, (int)info.temporary_bytes, (int)info.temporary_sum);

    /* 3. Patch and launch: the first argument of the first node is another vector each time. */
    uint64_t node = mlxn_graph_find_node(graph, "silu_mul", 0);
    for (int i = 0; i < INPUTS; i++) {
        must(mlxn_graph_set_argument(graph, node, 0, &a[i], &error), &error);
        mlxn_encoder_launch(encoder, graph);
        must(mlxn_encoder_commit_and_wait(encoder, "launch", &error), &error);
        printf("silu(%d) * 10 + 100 = %.4f\n", i + 1, (double)*(const float *)mlxn_buffer_contents(y.buffer));
    }

    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(encoder);
    mlxn_tensor *all[] = {&a[0], &a[1], &a[2], &b, &c, &y};
    for (int i = 0; i < 6; i++) mlxn_buffer_release(&all[i]->buffer);
    mlxn_device_release(&device);
    return 0;
}
