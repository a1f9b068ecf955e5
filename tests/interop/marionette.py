"""A few lines of Marionette, the protocol by which Mozilla's programs are driven: length, colon, JSON."""
import json, socket


class Marionette:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.file, self.count = self.socket.makefile("rb"), 0
        self.answer()
        self.ask("WebDriver:NewSession", capabilities={})
        self.ask("WebDriver:SetTimeouts", script=60_000)
        self.ask("Marionette:SetContext", value="chrome")

    def answer(self):
        size = b""
        while (digit := self.file.read(1)) != b":":
            assert digit, "the program has gone"
            size += digit
        return json.loads(self.file.read(int(size)))

    def ask(self, command, **parameters):
        self.count += 1
        words = json.dumps([0, self.count, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(words), words))
        _, _, error, result = self.answer()
        if error:
            raise RuntimeError(f"{command}: {error['message']}\n{error.get('stacktrace', '')}")
        return result and result.get("value")

    def run(self, script, *arguments):
        """Runs the body of an asynchronous function in the program's window; its value."""
        body = "const done = arguments[arguments.length - 1], given = Array.from(arguments).slice(0, -1);" \
            "(async (...given) => {%s})(...given).then(value => done({value}), " \
            "error => done({error: `${error}\\n${error?.stack}`}));" % script
        result = self.ask("WebDriver:ExecuteAsyncScript", script=body, args=list(arguments))
        assert "error" not in result, result["error"]
        return result.get("value")
