"""A plugin for a test: it learns only at work that it cannot watch."""

import federation_plugin as fp


class Trust:
    def bundle(self):
        raise fp.NotFound("nothing here")

    def watch(self, changed, stopped):
        raise fp.Unsupported("the store has no notifications")


if __name__ == "__main__":
    fp.serve("polled", "1.0.0", lambda settings, secrets: fp.Providers(trust=Trust()))
