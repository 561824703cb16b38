<?php
// Who has answered: web server, proxy, database; the lag, and the last failover. With ?json for programs.
require 'database.php';
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
$visits = $_SESSION['visits'];
session_write_close();

$status = ['web' => gethostname(), 'visits' => $visits];
// A read, which either database may answer, and the one to which writes go.
$status['read from'] = shop()->query('SELECT @@hostname')->fetchColumn();
shop()->beginTransaction();
shop()->exec("UPDATE sessions SET used = NOW() WHERE id = ''");
$status['written to'] = shop()->query('SELECT @@hostname')->fetchColumn();
shop()->rollBack();

if (getenv('PROXY')) {
    [$host, $port] = explode(':', getenv('PROXY'));
    $admin = new mysqli($host, 'watcher', secret('watcher'), '', (int) $port);
    $all = fn (string $question): array => $admin->query($question)->fetch_all(MYSQLI_ASSOC);
    $failover = array_column($all('SELECT * FROM failover'), 'value', 'property');
    $status['proxy'] = $failover['tandem'] ?? '';
    $status['proxy that decides'] = $failover['leader'] ?? '';
    // The other one does not know.
    if ($status['proxy'] === $status['proxy that decides']) {
        $status['could fail over'] = $failover['could_fail_over'] ?? '';
    }
    foreach ($all('SELECT * FROM servers') as $server) {
        $status["{$server['name']}"] = $server['role'] . ($server['lag_ms'] === null ? '' : ", lag {$server['lag_ms']} ms");
    }
    // Of what the proxy that has answered has seen itself.
    $last = $all("SELECT * FROM events WHERE event IN ('promoted', 'failback') ORDER BY 0 + seconds_ago LIMIT 1");
    $status['last failover'] = $last
        ? round((float) $last[0]['seconds_ago']) . " s ago: {$last[0]['server']} {$last[0]['event']}, {$last[0]['detail']}"
        : "none since {$status['proxy']} was started";
}

header('Cache-Control: no-store');
if (isset($_GET['json'])) {
    header('Content-Type: application/json');
    exit(json_encode($status, JSON_PRETTY_PRINT) . "\n");
}
echo '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Who has answered</title>
    <style>body{font-family:sans-serif;margin:2em}td{padding:.3em 1em .3em 0;border-bottom:1px solid #ccc}</style>
    <h1>Who has answered</h1><table>';
foreach ($status as $what => $value) {
    echo '<tr><td>', htmlspecialchars($what), '<td>', htmlspecialchars((string) $value);
}
echo '</table>';
