#include "io/image.h"

/* Bit 3j+c of the id becomes bit 7-j of channel c. */
void atr_palette_voc(uint8_t palette[256][3])
{
    for (int id = 0; id < 256; id++)
        for (int c = 0; c < 3; c++) {
            int level = 0;
            for (int j = 0; 3 * j + c < 8; j++)
                level |= (id >> (3 * j + c) & 1) << (7 - j);
            palette[id][c] = (uint8_t)level;
        }
}
