"""Programs whose calls fail when they are told to (failing_calls.c)."""

import mmap
import os
import shutil
import struct

from harness import program

FORMAT = "32siii"  # struct control


class Failing:
    """A folder with such a program, and the file that says which of its calls fail."""

    def __init__(self, folder, *programs):
        self.folder = folder
        for name in programs:
            shutil.copy(program("failing/" + name), folder)
        with open(self.file("control"), "w+b") as file:
            file.write(bytes(struct.calcsize(FORMAT)))
            file.flush()
            self.map = mmap.mmap(file.fileno(), struct.calcsize(FORMAT))
        self.off()

    def file(self, name):
        return os.path.join(self.folder, name)

    def fail(self, call, number, lasting=False):
        """From now on: the call of that number, and with `lasting` each one after it."""
        self.map[:] = struct.pack(FORMAT, call.encode(), number, lasting, 0)

    def off(self):
        """Nothing fails any more. Returns how many of those calls there were."""
        counted = struct.unpack(FORMAT, self.map[:])[3]
        self.map[:] = bytes(struct.calcsize(FORMAT))
        return counted
