<?php
// mysqli and PDO on the admin port: arguments are the host, the port, the account and its password. Any surprise ends it.
[, $host, $port, $user, $password] = $argv;
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function same($found, $expected)
{
    if ($found !== $expected) {
        throw new Exception('found ' . var_export($found, true) . ', not ' . var_export($expected, true));
    }
}

$mysqli = new mysqli($host, $user, $password, 'tandem', (int) $port);
$mysqli->set_charset('utf8mb4');
same(in_array(['servers'], $mysqli->query('SHOW TABLES')->fetch_all()), true);
same($mysqli->query('DESCRIBE servers')->fetch_assoc()['Field'], 'name');
$quoted = $mysqli->real_escape_string("it's \\ \"a\"");
same($mysqli->query("SELECT '$quoted' AS x")->fetch_row(), ["it's \\ \"a\""]);
$statement = $mysqli->prepare('SELECT name, weight, weight / 2.0 FROM servers WHERE name = ? AND weight > ?');
same($statement->param_count, 2);
$name = 'a';
$weight = 0;
$statement->bind_param('si', $name, $weight);
$statement->execute();
same($statement->get_result()->fetch_all(), [['a', 1, 0.5]]);
$name = "it's \\";
$statement->execute();
same($statement->get_result()->fetch_all(), []);
$statement->close();
$statement = $mysqli->prepare('SHOW SERVERS LIKE ?');
$name = 'B%';
$statement->bind_param('s', $name);
$statement->execute();
same($statement->get_result()->fetch_assoc()['name'], 'b');
try {
    $mysqli->prepare('DROP TABLE servers');
    throw new Exception('prepared what is not known');
} catch (mysqli_sql_exception $refused) {
    same($refused->getCode(), 1064);
}

foreach ([true, false] as $emulates) {
    $pdo = new PDO("mysql:host=$host;port=$port;dbname=tandem;charset=utf8mb4", $user, $password, [
        PDO::ATTR_EMULATE_PREPARES => $emulates,
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
    ]);
    $statement = $pdo->prepare('SELECT name FROM servers WHERE name IN (:one, :two) ORDER BY name LIMIT 5');
    $statement->execute(['one' => 'b', 'two' => "it's \\ \"a\""]);
    same($statement->fetchAll(PDO::FETCH_COLUMN), ['b']);
    $statement = $pdo->prepare('SHOW TABLES LIKE ?');
    $statement->execute(['serv%']);
    same($statement->fetchAll(PDO::FETCH_COLUMN), ['servers']);
    $statement = $pdo->prepare('KILL ?');
    try {
        $statement->execute([4000000000]);
        throw new Exception('killed nobody');
    } catch (PDOException $refused) {
        same($refused->errorInfo[1], 1094);
    }
    same($pdo->query('SELECT COUNT(*) FROM servers')->fetchColumn() == 2, true);
}
echo "done\n";
