<?php
// For the load balancers: this web server runs PHP, and a Tandem (or a database) lets it in.
require 'database.php';
ini_set('default_socket_timeout', '1');
[$host, $port] = explode(':', getenv('DATABASE'));
$link = mysqli_init();
$link->options(MYSQLI_OPT_CONNECT_TIMEOUT, 1);
$link->options(MYSQLI_OPT_READ_TIMEOUT, 1);
$link->real_connect($host, 'shop', secret('shop'), 'shop', (int) $port);
header('Content-Type: text/plain');
echo "well\n";
