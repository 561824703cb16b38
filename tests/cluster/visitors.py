"""Visitors of a site that stands on docker/: readers, people who comment, people who order.

Each is a thread that does one thing after another, with a moment of thought between, and writes down how long each took and what
came of it. What a visitor wanted and did not get he tries again, as one who reloads a page: the time from the first try to the
success is what he waited.
"""

import http.client
import re
import socket
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass

TROUBLES = ("Error establishing a database connection", "WordPress database error", "Fatal error", "<b>Warning</b>",
            "Something went wrong", "One moment</title>")


@dataclass
class Try:
    """One request. `outcome` is ok, error page, broken (the connection was lost) or timeout."""
    kind: str
    begun: float
    ended: float
    outcome: str
    detail: str
    # Whether it repeats one that failed, and since when the visitor has wanted this.
    again: bool
    wanted: float
    # Whose it is, among all visitors.
    visitor: int


@dataclass
class Page:
    status: int
    text: str
    headers: list


class Browser:
    """Cookies and a redirect or two; one connection for each request."""

    def __init__(self, address, timeout):
        self.address, self.timeout, self.cookies = address, timeout, {}

    def open(self, path, form=None):
        for _ in range(5):
            body = None if form is None else urllib.parse.urlencode(form)
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            if body is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection = http.client.HTTPConnection(self.address, timeout=self.timeout)
            try:
                connection.request("GET" if form is None else "POST", path, body, headers)
                answer = connection.getresponse()
                page = Page(answer.status, answer.read().decode(errors="replace"), answer.getheaders())
            finally:
                connection.close()
            for name, value in page.headers:
                if name.lower() == "set-cookie":
                    cookie, _, content = value.split(";")[0].partition("=")
                    self.cookies[cookie] = content
            location = dict(page.headers).get("Location")
            if page.status not in (301, 302, 303) or not location:
                return page
            path, form = re.sub(r"^https?://[^/]*", "", location).split("#")[0], None
        raise ValueError(f"redirected without an end: {path}")

    def log_in(self, user, password):
        self.open("/wp-login.php")
        page = self.open("/wp-login.php", {"log": user, "pwd": password, "wp-submit": "Log In",
                                           "redirect_to": f"http://{self.address}/wp-admin/profile.php", "testcookie": "1"})
        assert page.status == 200 and "Profile" in page.text, page.text[:2000]


class Visitors:
    """All that visit a site, and what came of it."""

    def __init__(self, address, timeout=30.0, password=None):
        self.address, self.timeout, self.password = address, timeout, password
        self.tries, self.lock, self.threads = [], threading.Lock(), []
        # Of each visitor what he is, and what came of his last try to arrive.
        self.kinds, self.arrivals = [], []
        self.over = threading.Event()
        # WordPress keeps the logins of an account in one value: of two at the same moment one is lost, and that browser is not logged in.
        self.logging_in = threading.Lock()
        # What was acknowledged: tokens of orders, texts of comments.
        self.orders, self.plain_orders, self.comments = set(), set(), set()

    def begin(self, kind, count, think):
        action = {"reader": self.read, "editor": self.edit, "commenter": self.comment,
                  "order": lambda browser, *_: self.order(browser, self.orders),
                  "plain order": lambda browser, *_: self.order(browser, self.plain_orders, plain="1")}[kind]
        for number in range(count):
            thread = threading.Thread(target=self.visit, args=(kind, action, number, think, len(self.threads)), daemon=True)
            self.threads.append(thread)
            self.kinds.append(kind)
            self.arrivals.append("has not arrived")
            thread.start()

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(self.timeout * 2)
            assert not thread.is_alive(), "a visitor does not come to an end"

    def unserved_since(self, moment):
        """Who has not got anything that he began to ask for after this moment, and why."""
        with self.lock:
            latest, served = dict(enumerate(self.arrivals)), set()
            for one in self.tries:
                latest[one.visitor] = f"{one.outcome} {one.detail}"
                if one.outcome == "ok" and one.begun > moment:
                    served.add(one.visitor)
        return [f"{kind}: {latest[visitor]}" for visitor, kind in enumerate(self.kinds) if visitor not in served]

    def served_since(self, moment):
        return not self.unserved_since(moment)

    def since(self, begun):
        with self.lock:
            return [one for one in self.tries if one.ended >= begun]

    def visit(self, kind, action, number, think, visitor):
        browser = Browser(self.address, self.timeout)
        while not self.over.is_set() and not self.arrive(kind, browser, visitor):
            self.over.wait(0.5)
        turn = 0
        while not self.over.is_set():
            turn += 1
            steps = action(browser, number, turn)
            wanted, again = time.time(), False
            # A plain order is sent once: nobody knows what became of it.
            while not self.attempt(kind, steps, wanted, again, visitor) and kind != "plain order" and not self.over.is_set():
                again = True
                self.over.wait(0.2)
            self.over.wait(think)

    def arrive(self, kind, browser, visitor):
        """What comes before the first turn, and is not counted: tried until it works."""
        try:
            if kind in ("commenter", "editor"):
                with self.logging_in:
                    browser.log_in("owner", self.password)
            if kind == "commenter":
                # The form says which post it is for.
                self.post = re.search(r"name='comment_post_ID' value='(\d+)'", browser.open("/hello-world/").text).group(1)
            self.arrivals[visitor] = "has arrived"
            return True
        except (OSError, http.client.HTTPException, AssertionError, AttributeError, ValueError) as error:
            self.arrivals[visitor] = f"has not arrived: {type(error).__name__} {error}"
            return False

    def attempt(self, kind, steps, wanted, again, visitor):
        begun = time.time()
        try:
            page = steps()
            found = [trouble for trouble in TROUBLES if trouble in page.text]
            if page.status == 200 and not found:
                outcome, detail = "ok", ""
            else:
                outcome, detail = "error page", f"{page.status} {(found or [page.text[:200]])[0]}"
        except (socket.timeout, TimeoutError) as error:
            outcome, detail = "timeout", str(error)
        except (OSError, http.client.HTTPException) as error:
            outcome, detail = "broken", f"{type(error).__name__} {error}"
        one = Try(kind, begun, time.time(), outcome, detail, again, wanted, visitor)
        with self.lock:
            self.tries.append(one)
        return outcome == "ok"

    def read(self, browser, number, turn):
        path = ("/", "/hello-world/", "/sample-page/", "/cluster/orders.php")[(number + turn) % 4]
        return lambda: browser.open(path)

    def comment(self, browser, number, turn):
        text = f"I was here: {uuid.uuid4().hex}"

        def steps():
            page = browser.open("/wp-comments-post.php", {"comment": text, "comment_post_ID": self.post, "comment_parent": "0"})
            # Behind the redirect is the post, with the comment on it. WordPress counts by seconds which of its pages that is: where two
            # came in one, it may be the next, the newest, which is what one sees who opens the post.
            if page.status == 200 and text not in page.text:
                page = browser.open("/hello-world/")
            if page.status == 200 and text in page.text:
                self.comments.add(text)
            elif page.status == 200:
                page.status, page.text = 404, "the comment is not there"
            return page
        return steps

    def edit(self, browser, number, turn):
        text = uuid.uuid4().hex

        def steps():
            page = browser.open("/wp-admin/profile.php")
            nonce = re.search(r'id="_wpnonce" name="_wpnonce" value="([0-9a-f]+)"', page.text)
            # 2 where database-2 was the active one when WordPress was installed.
            user = re.search(r'name="checkuser_id" value="(\d+)"', page.text)
            if page.status != 200 or not nonce or not user:
                page.status = page.status if page.status != 200 else 404
                return page
            page = browser.open("/wp-admin/profile.php", {
                "_wpnonce": nonce.group(1), "action": "update", "user_id": user.group(1), "checkuser_id": user.group(1),
                "nickname": "owner", "email": "owner@example.org", "display_name": "owner", "description": text, "submit": "Update"})
            if page.status == 200 and number == 0 and text not in page.text:
                page.status, page.text = 404, "what was saved is not there"
            return page
        return steps

    def order(self, browser, acknowledged, **more):
        token = uuid.uuid4().hex

        def steps():
            page = browser.open("/cluster/orders.php", {"token": token, "amount": "1", **more})
            if page.status == 200 and page.text == "ordered\n":
                acknowledged.add(token)
            return page
        return steps


def answers(address):
    """Whether somebody who comes to this address now gets a page."""
    try:
        return Browser(address, 2).open("/").status == 200
    except OSError:
        return False


def longest_wait(tries):
    """The longest that anybody waited for what he wanted, by kind, in seconds."""
    waits = {}
    for one in tries:
        if one.outcome == "ok":
            waits[one.kind] = max(waits.get(one.kind, 0.0), one.ended - one.wanted)
    return waits
