"""WordPress as Debian ships it, on Apache with mod_php: its home page, by wrk."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import ground

PACKAGE = Path("/usr/share/wordpress")
SCHEMA = "wordpress"
POSTS = 10
# Enough that both cores are busy.
VISITORS = 4

CONFIG = f"""<?php
define('DB_NAME', '{SCHEMA}');
define('DB_USER', '{ground.USER}');
define('DB_PASSWORD', '{ground.PASSWORD}');
define('DB_HOST', getenv('DATABASE'));
define('DB_CHARSET', 'utf8mb4');
define('WP_HOME', 'http://' . ($_SERVER['HTTP_HOST'] ?? 'localhost'));
define('WP_SITEURL', WP_HOME);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
"""

INSTALL = f"""
define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
require 'wp-load.php';
function wp_new_blog_notification() {{}}
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('Measured', 'owner', 'owner@example.org', true, '', 'owner-secret');
for ($post = 1; $post < {POSTS}; $post++) {{
    wp_insert_post(['post_title' => "Post $post", 'post_status' => 'publish', 'post_content' => str_repeat("Words of post $post. ", 50)]);
}}
"""

APACHE = """
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {home}/apache.pid
ErrorLog {home}/apache.error
User www-data
Group www-data
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule php_module {php}
StartServers {visitors}
MinSpareServers 1
MaxRequestWorkers {workers}
DocumentRoot {root}
DirectoryIndex index.php
<FilesMatch "\\.php$">
    SetHandler application/x-httpd-php
</FilesMatch>
"""


def prepare(pair, folder):
    """A copy of WordPress that is installed on the pair; its folder."""
    pair.ask("a", f"CREATE DATABASE {SCHEMA}; GRANT ALL ON {SCHEMA}.* TO '{ground.USER}'@'%'")
    # Apache's account looks into it.
    folder.chmod(0o711)
    root = folder / "site"
    # Debian's tree has links into other packages, which the copy has not.
    subprocess.run(["cp", "-rL", PACKAGE, root], check=True)
    (root / "wp-config.php").write_text(CONFIG)
    told = subprocess.run(["php", "-r", INSTALL], cwd=root, env=environment(pair.ports["a"]), capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(f"WordPress can't be installed: {told.stdout}{told.stderr}")
    pair.wait_follows()
    return root


def environment(port):
    return os.environ | {"DATABASE": f"127.0.0.1:{port}"}


def serve(name, root, folder, database):
    """Apache, whose WordPress asks the database on that port."""
    home, port = folder / f"apache-{name}", ground.free_port()
    home.mkdir(mode=0o755)
    php = next(iter(sorted(Path("/usr/lib/apache2/modules").glob("libphp*.so"))), None)
    if php is None or not shutil.which("apache2"):
        raise SystemExit("the package libapache2-mod-php is missing (.ci/install apache)")
    (home / "apache.conf").write_text(APACHE.format(port=port, home=home, php=php, root=root, visitors=VISITORS, workers=2 * VISITORS))
    # When it is told to stop it tells all of its process group.
    return ground.start("apache", home, ["apache2", "-D", "FOREGROUND", "-f", home / "apache.conf"], port, env=environment(database),
                        start_new_session=True)


def visit(site, watched, seconds):
    """One round of wrk; as the load generator tells its own, with pages for statements. `watched`: processes by their name."""
    before = {name: used(pids) for name, pids in watched.items()}
    text = run_wrk(site, seconds)
    after = {name: used(pids) for name, pids in watched.items()}
    pages = int(re.search(r"(\d+) requests in", text).group(1))
    if "Non-2xx" in text or "Socket errors" in text or not pages:
        return {"refused": text}
    percentile = {part: float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]
                  for part, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)}
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
        "all_queries": pages,
        "p50_us": percentile["50"],
        "p99_us": percentile["99"],
        "watched": {name: {"cpu_us": (after[name][0] - before[name][0]) / pages, "switches": (after[name][1] - before[name][1]) / pages}
                    for name in watched},
    }


def run_wrk(site, seconds):
    """`seconds`: a whole number, as wrk wants it."""
    return subprocess.run(["wrk", "--latency", "--threads", "1", "--connections", str(VISITORS), "--duration", f"{seconds}s",
                           f"http://127.0.0.1:{site.port}/"], check=True, capture_output=True, text=True).stdout


def used(pids):
    """Microseconds of CPU, and context switches, of all threads."""
    cpu, switches = 0, 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            cpu += int((thread / "schedstat").read_text().split()[0]) / 1000
            status = (thread / "status").read_text()
            switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status)))
    return cpu, switches
