"""A plugin for a test: its calls last until the file "release" is there, and files in the folder "dir" tell how far
it is. Each configuration has a number, from 1."""

import os
import time

import federation_plugin as fp

count = 0


class Trust:
    def __init__(self, folder, number):
        self.folder, self.number, self.closed = folder, number, False

    def tell(self, what):
        open(os.path.join(self.folder, "%s-%d" % (what, self.number)), "w").close()

    def bundle(self):
        self.tell("called")
        while not os.path.exists(os.path.join(self.folder, "release")):
            time.sleep(0.01)
        raise fp.NotFound("closed under a call" if self.closed else "open to the end")

    def watch(self, changed, stopped):
        stopped.wait()
        self.tell("watch-ended")

    def close(self):
        self.closed = True
        self.tell("closed")


def configure(settings, secrets):
    global count
    count += 1
    trust = Trust(settings["dir"], count)
    return fp.Providers(trust=trust, close=trust.close)


if __name__ == "__main__":
    fp.serve("slow", "1.0.0", configure)
