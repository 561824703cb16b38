"""Visits a MediaWiki as its owner and as strangers: log in, edit, read, search, and look around.

Arguments: the base address, and how many pages to write. Prints what it saw; any surprise ends it.
"""

import http.cookiejar
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

BASE, PAGES = sys.argv[1], int(sys.argv[2])


class Browser:
    def __init__(self):
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(cookies)

    def open(self, path, data=None):
        body = urllib.parse.urlencode(data).encode() if data else None
        with self.opener.open(BASE + path, body, timeout=60) as answer:
            page = answer.read().decode()
        for trouble in ("Database error", "internal_api_error", "Internal error", "Fatal error", "<b>Warning</b>"):
            assert trouble not in page, (path, trouble, page[:3000])
        return page

    def api(self, **data):
        answer = json.loads(self.open("/api.php", data | {"format": "json", "formatversion": "2"}))
        assert "error" not in answer and "warnings" not in answer, (data, answer)
        return answer

    def token(self, kind):
        return self.api(action="query", meta="tokens", type=kind)["query"]["tokens"][kind + "token"]


def raw(title):
    """The text as somebody sees it who was never here."""
    try:
        return Browser().open("/index.php?action=raw&title=" + urllib.parse.quote(title))
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return ""


# Each is looked for once, at once. What was missed is counted and reported, and must be there in the end.
missed = []


def look_at_once(title, text):
    if raw(title) != text:
        missed.append((title, text))


owner = Browser()
answer = owner.api(action="clientlogin", username="Owner", password="a long password 1", loginreturnurl=BASE,
                   logintoken=owner.token("login"))
assert answer["clientlogin"]["status"] == "PASS", answer
print("logged in")

token = owner.token("csrf")
for number in range(PAGES):
    title, text = f"Page {number}", f"The word is heron{number}, größer than 🐦. [[Page {number + 1}]] [[Category:Birds]]"
    answer = owner.api(action="edit", title=title, text=text, createonly="1", token=token)
    assert answer["edit"]["result"] == "Success", answer
    look_at_once(title, text)
    # The owner, in a new session of the database: one request is one session.
    page = owner.api(action="query", titles=title, prop="revisions", rvprop="content", rvslots="main")["query"]["pages"][0]
    assert page["revisions"][0]["slots"]["main"]["content"] == text, page
print(f"wrote {PAGES} pages")

text = "The word is egret now."
owner.api(action="edit", title="Page 0", text=text, token=token)
look_at_once("Page 0", text)
history = owner.api(action="query", titles="Page 0", prop="revisions", rvlimit="5")["query"]["pages"][0]["revisions"]
assert len(history) == 2, history
newest, oldest = (revision["revid"] for revision in history)
assert "egret" in owner.open(f"/index.php?title=Page_0&diff={newest}&oldid={oldest}")
owner.api(action="move", **{"from": "Page 1", "to": "Place 1"}, token=token)
assert "heron1" in owner.open("/index.php?title=Place_1")
owner.api(action="delete", title=f"Page {PAGES - 1}", token=token)
print("edited, compared, moved and deleted")


def waited(what, holds):
    """Search and categories are brought up to date after the page has been answered."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def finds(word):
    hits = Browser().api(action="query", list="search", srsearch=word, srwhat="text")["query"]["search"]
    return [hit["title"] for hit in hits]


def members():
    found = Browser().api(action="query", list="categorymembers", cmtitle="Category:Birds", cmlimit="50")
    return len(found["query"]["categorymembers"])


waited("the search finds a page", lambda: finds("heron2") == ["Page 2"])
waited("and an edited one", lambda: finds("egret") == ["Page 0"])
# Page 0 has lost its category, and the last page is deleted.
waited("the category is complete", lambda: members() == PAGES - 2)
for title in ("Main_Page", "Page_2", "Special:RecentChanges", "Special:AllPages", "Special:Statistics", "Special:Watchlist",
              "Special:Preferences", "Special:Version", "Special:Log", "Category:Birds"):
    assert "heron" in owner.open(f"/index.php?title={title}") or title != "Page_2"
print("searched, and looked around")

for title, text in missed:
    waited((title, text), lambda: raw(title) == text)
print(f"missed {len(missed)} of {PAGES + 1}")
