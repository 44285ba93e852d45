"""A stand-in."""


def definition(name, dtype):
    t = "float" if dtype.itemsize == 4 else "double"
    s = f"f{8*dtype.itemsize}"
    return f"declare {t} @llvm.{name}.{s}({t})\ndefine internal {t} @tg_{name}_{s}({t} %x) alwaysinline {{\n  %y = call {t} @llvm.{name}.{s}({t} %x)\n  ret {t} %y\n}}\n"
