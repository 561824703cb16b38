"""Visits a WordPress as its owner and as a stranger: install, log in, publish, read, comment, search.

Arguments: the base address, and how many posts to publish. Prints what it saw; any surprise ends it.
"""

import http.cookiejar
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

BASE, POSTS = sys.argv[1], int(sys.argv[2])


class Browser:
    def __init__(self):
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def open(self, path, data=None, headers=None, body=None):
        if data is not None:
            body = urllib.parse.urlencode(data).encode()
        request = urllib.request.Request(BASE + path, body, headers or {})
        with self.opener.open(request, timeout=60) as answer:
            page = answer.read().decode()
        for trouble in ("Error establishing a database connection", "WordPress database error", "Fatal error",
                        "<b>Warning</b>"):
            assert trouble not in page, (path, trouble, page[:2000])
        return page


def found(pattern, page):
    match = re.search(pattern, page)
    assert match, (pattern, page[:3000])
    return match.group(1)


owner, stranger = Browser(), Browser()

page = owner.open("/wp-admin/install.php?step=2", {
    "weblog_title": "Through Tandem", "user_name": "owner", "admin_password": "a long password 1",
    "admin_password2": "a long password 1", "pw_weak": "1", "admin_email": "owner@example.org", "blog_public": "0",
    "Submit": "Install WordPress", "language": ""})
assert "Success!" in page, page[:3000]
print("installed")

owner.open("/wp-login.php")
page = owner.open("/wp-login.php", {"log": "owner", "pwd": "a long password 1", "wp-submit": "Log In",
                                    "redirect_to": BASE + "/wp-admin/", "testcookie": "1"})
assert "Dashboard" in page, page[:3000]
print("logged in")

nonce = found(r'createNonceMiddleware\(\s*"([0-9a-f]+)"', owner.open("/wp-admin/post-new.php"))
rest = {"X-WP-Nonce": nonce, "Content-Type": "application/json"}


def publish(number):
    body = json.dumps({"title": f"Post {number}", "content": f"The word is heron{number}.", "status": "publish",
                       "comment_status": "open"}).encode()
    return json.loads(owner.open("/index.php?rest_route=/wp/v2/posts", headers=rest, body=body))["id"]


def visible(post, words):
    """Whether somebody who was never here sees the words, asked once."""
    try:
        return words in Browser().open(f"/?p={post}")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return False


# Each is looked for once, at once. What was missed is counted and reported, and must be there in the end.
missed = []


def look_at_once(post, words):
    if not visible(post, words):
        missed.append((post, words))


for number in range(POSTS):
    post = publish(number)
    look_at_once(post, f"heron{number}")
    # The owner, in a new session of the database: one page request is one session.
    again = json.loads(owner.open(f"/index.php?rest_route=/wp/v2/posts/{post}", headers=rest))
    assert f"heron{number}" in again["content"]["rendered"]
print(f"published {POSTS}")

page = stranger.open("/wp-comments-post.php", {"comment": "A remark from nowhere.", "author": "Stranger",
                                              "email": "stranger@example.org", "comment_post_ID": str(post),
                                              "comment_parent": "0", "submit": "Post Comment"})
comments = json.loads(owner.open("/index.php?rest_route=/wp/v2/comments&status=hold", headers=rest))
assert len(comments) == 1, comments
body = json.dumps({"status": "approved"}).encode()
owner.open(f"/index.php?rest_route=/wp/v2/comments/{comments[0]['id']}", headers=rest, body=body)
look_at_once(post, "A remark from nowhere.")
print("commented")

page = stranger.open("/?s=heron0")
assert "Post 0" in page, page[:3000]
for path in ("/wp-admin/", "/wp-admin/edit.php", "/wp-admin/edit-comments.php", "/wp-admin/users.php",
             "/wp-admin/options-general.php", "/wp-admin/site-health.php", "/"):
    owner.open(path)
print("searched, and looked around")

deadline = time.monotonic() + 10
for post, words in missed:
    while not visible(post, words):
        assert time.monotonic() < deadline, (post, words)
print(f"missed {len(missed)} of {POSTS + 1}")
