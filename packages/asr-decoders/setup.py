"""Builds the native search where there is a compiler; pyproject.toml says everything else.

The library is plain C, loaded by ctypes: one wheel, py3-none-<platform>, serves every Python. Where it
cannot be compiled the installation succeeds without it, its wheel is py3-none-any, and the decoders run in
numpy. ASR_DECODERS_BACKEND=native makes that an error, for those who build wheels to give away.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

SOURCES = ["src/asr_decoders/native/decoders.cpp", "src/asr_decoders/native/edits.cpp"]
LIBRARY = "asr_decoders.native.decoders"
SUFFIX = ".dll" if sys.platform == "win32" else ".so"

# Sums and products are rounded one by one, as numpy rounds them: nothing is fused (fp-contract).
UNIX = ["-std=c++17", "-O3", "-fvisibility=hidden", "-ffp-contract=off"]
MSVC = ["/std:c++17", "/O2", "/EHsc", "/fp:precise"]
# No libstdc++ is expected of the machine, and the one inside is shown to nobody: others may have another.
LINUX_LINK = ["-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,--strip-all"]


class Build(build):
    """Builds in a folder of its own: nothing left by an earlier build can come into a wheel."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.build_base = tempfile.mkdtemp(prefix="asr-decoders-build-")
        atexit.register(shutil.rmtree, self.build_base, ignore_errors=True)


class BuildLibrary(build_ext):
    """Builds a library that has nothing of Python's in its name, its symbols or its needs."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + SUFFIX

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols

    def get_libraries(self, ext: Extension) -> list[str]:
        return ext.libraries

    def build_extension(self, ext: Extension) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = MSVC if msvc else UNIX
        ext.extra_link_args = LINUX_LINK if sys.platform == "linux" else []
        beside = Path(SOURCES[0]).with_suffix(SUFFIX)
        if self.editable_mode and not self.force and newer(beside, *SOURCES, __file__):
            target = self.get_ext_fullpath(ext.name)
            self.mkpath(os.path.dirname(target))
            self.copy_file(str(beside), target)
        else:
            super().build_extension(ext)


class Wheel(bdist_wheel):
    """One wheel for all Pythons of a platform, and for all platforms when it holds no library."""

    def get_tag(self) -> tuple[str, str, str]:
        library = self.get_finalized_command("build_ext").get_ext_fullpath(LIBRARY)
        return "py3", "none", super().get_tag()[2] if os.path.exists(library) else "any"


def newer(file: Path, *sources: str) -> bool:
    return file.exists() and all(file.stat().st_mtime > os.path.getmtime(source) for source in sources)


library = Extension(LIBRARY, SOURCES, language="c++", optional=os.environ.get("ASR_DECODERS_BACKEND") != "native")
setup(ext_modules=[library], cmdclass={"build": Build, "build_ext": BuildLibrary, "bdist_wheel": Wheel})
