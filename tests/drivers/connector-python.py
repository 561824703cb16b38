"""Runs mysql-connector-python's tests by their own runner, in the current folder, and says how each ended."""

import os
import signal
import sys

sys.path.insert(0, os.getcwd())
# Whatever the tests print goes where errors go.
results, sys.stdout = sys.stdout, sys.stderr

import unittests

TEST_SECONDS = 120


class Result(unittests.BasicTestResult):
    def startTest(self, test):
        super().startTest(test)
        print(f"# {test.id()}", file=sys.stderr)
        signal.alarm(TEST_SECONDS)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def tell(self, result, test):
        # Some ids have the connection's kind behind them, which is the one that the test came to.
        print(result, test.id().split(" (using")[0], file=results, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tell("pass", test)

    def addError(self, test, err):
        super().addError(test, err)
        self.stream.writeln(self.errors[-1][1])
        self.tell("fail", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.stream.writeln(self.failures[-1][1])
        self.tell("fail", test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.tell("fail", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tell("skip", test)


class Late(BaseException):
    """Like none of the errors that tests expect."""


def late(*_):
    raise Late(f"took more than {TEST_SECONDS} s")


signal.signal(signal.SIGALRM, late)
unittests.BasicTestRunner.resultclass = Result
unittests.main()
