<?php
// Walks through PDO with emulated and with real prepared statements.
[$host, $port, $user, $password, $schema] =
    array_map('getenv', ['TANDEM_HOST', 'TANDEM_PORT', 'TANDEM_USER', 'TANDEM_PASSWORD', 'TANDEM_SCHEMA']);

function show($what, $value) { echo $what, ': ', json_encode($value), "\n"; }
function fails($what, callable $do) {
    try { $do(); show($what, 'no error'); }
    catch (PDOException $e) { show($what, [$e->getCode(), $e->getMessage()]); }
}

foreach ([true, false] as $emulate) {
    echo $emulate ? "-- emulated\n" : "-- prepared\n";
    $p = new PDO("mysql:host=$host;port=$port;dbname=$schema;charset=utf8mb4", $user, $password, [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_EMULATE_PREPARES => $emulate,
        PDO::MYSQL_ATTR_INIT_COMMAND => "SET time_zone = '+02:00'",
    ]);
    show('attributes', [$p->getAttribute(PDO::ATTR_SERVER_VERSION), $p->getAttribute(PDO::ATTR_CLIENT_VERSION) != '']);
    show('init command', $p->query('SELECT @@time_zone')->fetchColumn());
    $s = $p->prepare('SELECT v, n FROM x WHERE id = :id OR v = :v');
    foreach ([1, 2, 3] as $id) { $s->execute(['id' => $id, 'v' => 'none']); show('select', $s->fetchAll(PDO::FETCH_ASSOC)); }
    $s = $p->prepare('SELECT :a + :b');
    $s->execute(['a' => 1, 'b' => 2]);
    show('sum', $s->fetchColumn());
    $p->beginTransaction();
    $s = $p->prepare('INSERT INTO x (v, n) VALUES (?, ?)');
    $s->execute(['pdo', 2]);
    show('last id', [$p->lastInsertId(), $s->rowCount(), $p->inTransaction()]);
    $p->commit();
    $p->beginTransaction();
    $p->exec("DELETE FROM x WHERE v = 'pdo'");
    $p->rollBack();
    show('rolled back', $p->query("SELECT COUNT(*) FROM x WHERE v = 'pdo'")->fetchColumn());
    show('exec', $p->exec("UPDATE x SET n = n + 1 WHERE v = 'pdo'"));
    $s = $p->prepare('CALL two()');
    $s->execute();
    $sets = [];
    do { $sets[] = $s->fetchAll(PDO::FETCH_NUM); } while ($s->nextRowset());
    show('rowsets', $sets);
    $s = null;
    // A real prepared statement is one statement.
    $s = $p->query($emulate ? "SELECT 1; SELECT 'two'; UPDATE x SET n = 0 WHERE id = -1" : 'SELECT 1');
    $sets = [];
    do { $sets[] = $s->columnCount() ? $s->fetchAll(PDO::FETCH_NUM) : $s->rowCount(); } while ($s->nextRowset());
    show('multi', $sets);
    $s = null;
    $p->setAttribute(PDO::MYSQL_ATTR_USE_BUFFERED_QUERY, false);
    $s = $p->query('SELECT id FROM many ORDER BY id');
    $sum = 0;
    while (($id = $s->fetchColumn()) !== false) $sum += $id;
    show('unbuffered', $sum);
    $s = null;
    $p->setAttribute(PDO::MYSQL_ATTR_USE_BUFFERED_QUERY, true);
    show('quote', $p->quote("it's \\ é"));
    fails('unknown table', fn() => $p->query('SELECT * FROM nope'));
    fails('duplicate', fn() => $p->exec('INSERT INTO x (id) VALUES (1)'));
    show('error info', $p->errorInfo());
    $s = $p->prepare('SELECT data FROM big WHERE id = ?');
    $s->execute([1]);
    show('nothing', $s->fetch());
}
fails('wrong password', fn() => new PDO("mysql:host=$host;port=$port", $user, 'wrong'));
