<?php
// A shop's ledger. POST token=…&amount=… makes an order; with plain=1, as applications do that think of nothing.
require 'database.php';
session_start();
// The session is written before the answer is begun, not behind it: what fails then can still be told, and tried elsewhere.
if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    $all = shop()->query('SELECT COUNT(*) AS orders, COALESCE(SUM(amount), 0) AS amount FROM orders')->fetch();
    $mine = $_SESSION['orders'] ?? 0;
    session_write_close();
    $token = bin2hex(random_bytes(12));
    echo "<!doctype html><html lang=\"en\"><title>Orders</title>
        <p>{$all['orders']} orders, {$all['amount']} in all. Of this session: $mine.</p>
        <form method=\"post\"><input type=\"hidden\" name=\"token\" value=\"$token\">
        <input name=\"amount\" value=\"1\"> <button>Order</button></form></html>";
    exit;
}

$token = substr((string) ($_POST['token'] ?? ''), 0, 64);
$amount = (int) ($_POST['amount'] ?? 0);
if ($token === '' || $amount <= 0) {
    http_response_code(400);
    exit("An order has a token and an amount.\n");
}
header('Content-Type: text/plain');
if (!empty($_POST['plain'])) {
    shop()->prepare('INSERT INTO plain_orders (token, amount, web) VALUES (?, ?, ?)')
        ->execute([$token, $amount, gethostname()]);
    session_write_close();
    exit("ordered\n");
}

shop()->beginTransaction();
try {
    shop()->prepare('INSERT INTO orders (token, amount, web) VALUES (?, ?, ?)')->execute([$token, $amount, gethostname()]);
    shop()->commit();
    $_SESSION['orders'] = ($_SESSION['orders'] ?? 0) + 1;
} catch (PDOException $error) {
    if (($error->errorInfo[1] ?? 0) !== 1062) {
        throw $error;
    }
    // The form came twice. The order is there.
    shop()->rollBack();
}
session_write_close();
echo "ordered\n";
