/* Gives each file named on the command line to the fuzz target that this is linked with: what a
 * fuzzer once found stays tried, with any compiler. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    static uint8_t data[4 << 20];

    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return EXIT_FAILURE;
        }
        size_t size = fread(data, 1, sizeof(data), file);
        fclose(file);
        /* A copy of just that size, so that a sanitizer sees a read past its end. */
        uint8_t *copy = malloc(size + 1);
        if (copy == NULL) {
            return EXIT_FAILURE;
        }
        for (size_t n = 0; n < size; n++) {
            copy[n] = data[n];
        }
        uint8_t *exact = realloc(copy, size != 0 ? size : 1);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    return EXIT_SUCCESS;
}
