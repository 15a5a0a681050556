/* Segments a binary PPM picture and prints the share of each class:
 *     cc predict.c -o predict $(pkg-config --cflags --libs atrous)   &&   ./predict model.h5 picture.ppm */
#include <atrous/atrous.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int width, height;
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (file == NULL || fscanf(file, "P6 %d %d 255%*c", &width, &height) != 2 || width < 1 || height < 1)
        return fprintf(stderr, "usage: predict MODEL.h5 PICTURE.ppm (binary, 8 bit)\n"), 2;
    size_t size = (size_t)width * (size_t)height;
    uint8_t *pixels = malloc(size * 3), *ids = malloc(size);
    if (pixels == NULL || ids == NULL || fread(pixels, 3, size, file) != size)
        return fprintf(stderr, "%s: too short\n", argv[2]), 1;
    fclose(file);

    atrous_model *model = NULL;
    atrous_picture picture = {width, height, pixels};
    if (atrous_open(argv[1], NULL, &model) != 0 || atrous_segment(model, &picture, ids, NULL) != 0)
        return fprintf(stderr, "%s\n", atrous_message()), 1;
    size_t count[256] = {0};
    for (size_t i = 0; i < size; i++)
        count[ids[i]]++;
    for (int k = 0; k < atrous_class_count(model); k++)
        printf("%3d %-16s %6.2f %%\n", k, atrous_class_name(model, k),
               100.0 * (double)count[k] / (double)size);
    atrous_close(model);
    free(pixels);
    free(ids);
    return 0;
}
