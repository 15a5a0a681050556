"""Makes an int8 network of an exported ONNX file: QDQ form, 8-bit activations, weights by channel, batch norms folded before.

What ONNX Runtime and OpenVINO both run in int8. Scales come from calibration pictures, smallest and largest value of each tensor.
"""
import argparse
import glob
import os

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image


class Pictures(CalibrationDataReader):
    def __init__(self, name, tensors):
        self.feeds = iter([{name: x} for x in tensors])

    def get_next(self):
        return next(self.feeds, None)


def tensors(paths, size):
    """Pictures fitted with their aspect kept, on grey, as f32 [1,3,size,size]."""
    for path in paths:
        picture = Image.open(path).convert("RGB")
        scale = size / max(picture.size)
        picture = picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))), Image.BICUBIC)
        canvas = Image.new("RGB", (size, size), (128, 128, 128))
        canvas.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
        yield np.ascontiguousarray(np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / 255)


def pictures_in(place, most):
    if os.path.isdir(place):
        names = sorted(path for path in glob.glob(os.path.join(place, "*")) if path.lower().endswith((".jpg", ".jpeg", ".png")))
        return names[:: max(1, len(names) // most)][:most]
    return [place]


def quantize(source, target, calibration, reduce_range):
    folded = target + ".folded"
    quant_pre_process(source, folded, skip_symbolic_shape=True)
    quantize_static(folded, target, Pictures("images", calibration), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, reduce_range=reduce_range)
    os.remove(folded)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="MODEL.onnx, f32")
    parser.add_argument("output", help="INT8.onnx")
    parser.add_argument("--pictures", action="append", default=[], help="picture, or folder of pictures")
    parser.add_argument("--most", type=int, default=8, help="pictures of a folder that are used")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--reduce-range", action="store_true", help="7-bit weights: for processors without VNNI, whose sums of u8 * s8 saturate")
    args = parser.parse_args()
    paths = [path for place in args.pictures for path in pictures_in(place, args.most)]
    quantize(args.model, args.output, list(tensors(paths, args.size)), args.reduce_range)


if __name__ == "__main__":
    main()
