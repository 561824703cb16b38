<?php
// Walks through mysqli; what it prints must not depend on whether Tandem stands between.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
[$host, $port, $user, $password, $schema] =
    array_map('getenv', ['TANDEM_HOST', 'TANDEM_PORT', 'TANDEM_USER', 'TANDEM_PASSWORD', 'TANDEM_SCHEMA']);

function show($what, $value) { echo $what, ': ', json_encode($value), "\n"; }
function fails($what, callable $do) {
    try { $do(); show($what, 'no error'); }
    catch (mysqli_sql_exception $e) { show($what, [$e->getCode(), $e->getSqlState(), $e->getMessage()]); }
}
function all($result) { return $result->fetch_all(MYSQLI_NUM); }
function results($m) {
    $all = [];
    do {
        if ($r = $m->store_result()) { $all[] = all($r); $r->free(); } else { $all[] = $m->affected_rows; }
    } while ($m->more_results() && $m->next_result());
    return $all;
}

$m = new mysqli($host, $user, $password, $schema, $port);
show('server', [$m->server_info, $m->server_version, $m->character_set_name(), $m->protocol_version]);
$m->set_charset('utf8mb4');
$m->query("SET SESSION sql_mode='NO_ZERO_DATE'");
show('settings', all($m->query('SELECT @@sql_mode, @@collation_connection, DATABASE()')));
$m->query("SET NAMES latin1 COLLATE latin1_german1_ci");
show('latin1', all($m->query("SELECT @@collation_connection, HEX('" . "\xe9" . "')")));
$m->set_charset('utf8mb4');

$m->query("INSERT INTO x (v, n) VALUES ('php', 10)");
show('insert', [$m->insert_id, $m->affected_rows, $m->info]);
show('last id', all($m->query('SELECT LAST_INSERT_ID(), ROW_COUNT()')));
$m->query("INSERT INTO x (v, n) VALUES ('p', 1), ('q', 2)");
show('inserts', [$m->insert_id, $m->affected_rows, $m->info]);
$m->query('UPDATE x SET n = n + 1 WHERE n < 5');
show('update', [$m->affected_rows, $m->info]);
$m->query('UPDATE x SET n = 1 WHERE id = -1');
show('update of nothing', [$m->affected_rows, $m->info]);
show('fields', array_map(fn($f) => [$f->name, $f->orgtable, $f->db, $f->type, $f->flags, $f->length],
    $m->query('SELECT id AS i, v, n, NOW() > 0 FROM x LIMIT 0')->fetch_fields()));
show('unbuffered', (function () use ($m) {
    $sum = 0;
    $r = $m->query('SELECT id FROM many', MYSQLI_USE_RESULT);
    while ($row = $r->fetch_row()) $sum += $row[0];
    $r->free();
    return $sum;
})());

$s = $m->prepare('SELECT id, v FROM x WHERE id > ? AND v <> ? ORDER BY id LIMIT 3');
$i = 1; $v = 'zz';
$s->bind_param('is', $i, $v);
foreach ([1, 2] as $i) { $s->execute(); show('prepared', all($s->get_result())); }
$s->reset(); $s->execute(); show('prepared again', all($s->get_result()));
show('prepared', [$s->param_count, $s->field_count]);
$s->close();
$s = $m->prepare('INSERT INTO x (v, n) VALUES (?, ?)');
$n = null; $v = "it's \\ \0 é";
$s->bind_param('si', $v, $n); $s->execute();
show('prepared insert', [$s->insert_id, $s->affected_rows]);
show('read back', all($m->query('SELECT HEX(v), n FROM x WHERE id = ' . $s->insert_id)));
$s = $m->prepare('INSERT INTO big VALUES (?, ?)');
$id = 1; $null = null;
$s->bind_param('ib', $id, $null);
foreach (['x', 'y', 'z'] as $c) $s->send_long_data(1, str_repeat($c, 100000));
$s->execute();
show('long data', all($m->query('SELECT LENGTH(data), SHA2(data, 256) FROM big')));
$s = $m->prepare('SELECT id FROM many ORDER BY id');
$s->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
$s->execute(); $s->bind_result($id);
$count = 0; while ($s->fetch()) $count++;
show('cursor', $count);
$s->close();

$m->multi_query("SELECT 1; SELECT 'é'; INSERT INTO x (v) VALUES ('m'); SELECT 2 WHERE 0");
show('multi', results($m));
fails('multi with error', function () use ($m) { $m->multi_query('SELECT 1; SELECT * FROM nope; SELECT 3'); results($m); });
$m->multi_query('CALL two()');
show('call', results($m));
fails('two statements without leave', fn() => $m->query('SELECT 1; SELECT 2'));

$m->begin_transaction();
$m->query("UPDATE x SET v = 'changed'");
show('in transaction', all($m->query("SELECT COUNT(*) FROM x WHERE v = 'changed'")));
$m->rollback();
show('rolled back', all($m->query("SELECT COUNT(*) FROM x WHERE v = 'changed'")));
$m->autocommit(false);
$m->query("INSERT INTO x (v) VALUES ('committed')"); $m->commit();
$m->query("INSERT INTO x (v) VALUES ('not committed')"); $m->rollback();
$m->autocommit(true);
show('commit and rollback', all($m->query("SELECT v FROM x WHERE v LIKE '%committed' ORDER BY v")));

fails('unknown table', fn() => $m->query('SELECT * FROM nope'));
show('warnings of an error', all($m->query('SHOW WARNINGS')));
fails('syntax', fn() => $m->query('SELEC 1'));
fails('duplicate', fn() => $m->query("INSERT INTO x (id) VALUES (1)"));
fails('unknown schema', fn() => $m->select_db('no_such_schema'));
$m->query("SELECT CAST('12abc' AS SIGNED)");
show('warnings', [$m->warning_count, all($m->query('SHOW WARNINGS')), all($m->query('SHOW COUNT(*) WARNINGS'))]);
$m->query('SELECT SQL_CALC_FOUND_ROWS id FROM many LIMIT 5');
show('found rows', all($m->query('SELECT FOUND_ROWS()')));

$m->query('SET @a = 5');
show('user variable', all($m->query('SELECT @a')));
$m->query("PREPARE st FROM 'SELECT ? + @a'");
show('text prepared', all($m->query('EXECUTE st USING @a')));
$m->query('CREATE TEMPORARY TABLE tmp (x INT)');
$m->query('INSERT INTO tmp VALUES (1)');
show('temporary', all($m->query('SELECT * FROM tmp')));
$m->change_user($user, $password, $schema);
show('changed user', all($m->query('SELECT @a, DATABASE(), @@collation_connection')));
fails('temporary is gone', fn() => $m->query('SELECT * FROM tmp'));
$m->select_db('information_schema');
show('selected', all($m->query('SELECT DATABASE()')));
show('ping', [$m->ping(), is_string($m->stat())]);
$m->close();

$p = new mysqli("p:$host", $user, $password, $schema, $port);
$p->query('SET @left = 1');
$p->close();
$p = new mysqli("p:$host", $user, $password, $schema, $port);
show('persistent', all($p->query('SELECT @left')));
$p->close();

fails('wrong password', fn() => new mysqli($host, $user, 'wrong', $schema, $port));
fails('no password', fn() => new mysqli($host, $user, '', $schema, $port));
fails('unknown user', fn() => new mysqli($host, 'nobody', 'x', $schema, $port));
fails('unknown schema', fn() => new mysqli($host, $user, $password, 'no_such_schema', $port));
