"""Makes the registry's torchvision, which is built for CUDA, decode JPEGs beside a CPU build of torch.

LitData decodes with torchvision's C++ extension, for which no CPU wheel is in the registry. The extension's JPEG
decoder is plain libjpeg-turbo; only the dynamic linker misses `libc10_cuda.so` and `libtorch_cuda.so`. This program
compiles the two with every symbol asked of them as a function that aborts (none is ever called for a tensor in main
memory) and puts them into torchvision's own library folder. Run once, by `install.sh`, with the peers' interpreter.
"""

import importlib.util
import re
import subprocess
import tempfile
from pathlib import Path

ALLOCATOR = "_ZN3c104cuda20CUDACachingAllocator9allocatorE"  # the one object among the functions: an atomic pointer


def symbols(library: Path, *options: str) -> set[str]:
    """The dynamic symbols of a library, without their versions."""
    lines = subprocess.check_output(["nm", "-D", *options, library], text=True).splitlines()
    return {line.split()[-1] for line in lines if "@" not in line}  # a version names a library that is there


def package(name: str) -> Path:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None, name
    assert spec.origin is not None, name
    return Path(spec.origin).parent


def main() -> None:
    """Compiles the two libraries and tries the decoder."""
    vision, torch = package("torchvision"), package("torch")
    missing = symbols(vision / "image.so", "--undefined-only")
    for name in ("libc10.so", "libtorch_cpu.so", "libtorch_python.so"):
        missing -= symbols(torch / "lib" / name, "--defined-only")
    cuda = sorted(symbol for symbol in missing if re.search(r"cuda|CUDA", symbol) and symbol != ALLOCATOR)
    functions = "".join(f"void {symbol}(void) {{ abort(); }}\n" for symbol in cuda)
    source = f"#include <stdlib.h>\nvoid *{ALLOCATOR} = 0;\n{functions}"
    folder = vision.parent / "torchvision.libs"
    with tempfile.TemporaryDirectory() as work:
        for name, text in (("libc10_cuda.so", source), ("libtorch_cuda.so", "")):
            path = Path(work, "stub.c")
            path.write_text(text)
            command = ["cc", "-w", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{name}", "-o", folder / name, path]
            subprocess.run(command, check=True)
    print(f"{len(cuda) + 1} symbols in {folder}")


if __name__ == "__main__":
    main()
