"""The made-up pictures of `atrous bench` (core/rng.h, apps/bench_run.c), by the same formula: splitmix64 of a key and a counter."""
import numpy as np

TEST = 6  # ATR_RNG_TEST


def _mix(x):
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _key():
    """atr_rng_key(1, ATR_RNG_TEST, 0, 0)"""
    wide = (1 << 64) - 1
    key = _mix(np.uint64(1 + 0x9E3779B97F4A7C15))
    key = _mix(key ^ np.uint64(TEST * 0xD1B54A32D192ED03 & wide))
    with np.errstate(over="ignore"):
        key = _mix(key + np.uint64(1))
        return _mix(key + np.uint64(2))


def _numbers(count):
    with np.errstate(over="ignore"):
        return _mix(_key() + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def images(batch, size, channels=3):
    """[batch,channels,size,size] f32 in [0,1), stored by pixel."""
    units = (_numbers(batch * size * size * channels) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    return units.reshape(batch, size, size, channels).transpose(0, 3, 1, 2)


def labels(batch, size, classes):
    """[batch,size,size] u8: the upper 64 bits of number * classes."""
    numbers = _numbers(batch * size * size)
    high, low = numbers >> np.uint64(32), numbers & np.uint64(0xFFFFFFFF)
    k = np.uint64(classes)
    return ((high * k + (low * k >> np.uint64(32))) >> np.uint64(32)).astype(np.uint8).reshape(batch, size, size)
