<?php
// The shop's connection to the database, and PHP's sessions in it, so that a visitor may come to either web server.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function secret(string $name): string
{
    return trim(file_get_contents("/run/secrets/$name"));
}

function shop(): PDO
{
    static $pdo = null;
    [$host, $port] = explode(':', getenv('DATABASE'));
    return $pdo ??= new PDO("mysql:host=$host;port=$port;dbname=shop;charset=utf8mb4", 'shop', secret('shop'),
        [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC]);
}

// A mistake in the program is a 500; the database's absence is a 503, by which the load balancer asks the other web server.
set_exception_handler(function (Throwable $error) {
    error_log((string) $error);
    http_response_code($error instanceof PDOException || $error instanceof mysqli_sql_exception ? 503 : 500);
    echo "Something went wrong. Please try again.\n";
});

final class DatabaseSessions implements SessionHandlerInterface
{
    public function open(string $path, string $name): bool
    {
        return true;
    }

    public function close(): bool
    {
        return true;
    }

    public function read(string $id): string|false
    {
        $query = shop()->prepare('SELECT data FROM sessions WHERE id = ?');
        $query->execute([$id]);
        return (string) $query->fetchColumn();
    }

    public function write(string $id, string $data): bool
    {
        return shop()->prepare('REPLACE INTO sessions (id, data) VALUES (?, ?)')->execute([$id, $data]);
    }

    public function destroy(string $id): bool
    {
        return shop()->prepare('DELETE FROM sessions WHERE id = ?')->execute([$id]);
    }

    public function gc(int $lifetime): int|false
    {
        $query = shop()->prepare('DELETE FROM sessions WHERE used < NOW() - INTERVAL ? SECOND');
        $query->execute([$lifetime]);
        return $query->rowCount();
    }
}

session_set_save_handler(new DatabaseSessions(), true);
