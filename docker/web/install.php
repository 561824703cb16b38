<?php
// Sets WordPress and the shop's tables up, at the first start of the first web server; else does nothing.
$secret = fn (string $name): string => trim(file_get_contents("/run/secrets/$name"));
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

// Whoever has the lock does it, and the others wait.
[$host, $port] = explode(':', getenv('DATABASE'));
for ($deadline = time() + 120; ; sleep(1)) {
    try {
        $shop = new mysqli($host, 'shop', $secret('shop'), 'shop', (int) $port);
        $shop->query("SELECT GET_LOCK('cluster-install', 120)");
        // An order is known by the token that its form was given: the same form sent twice is one order.
        $shop->query('CREATE TABLE IF NOT EXISTS orders (id INT AUTO_INCREMENT PRIMARY KEY, token VARCHAR(64) NOT NULL UNIQUE,
            amount INT NOT NULL, web VARCHAR(64) NOT NULL, made TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3))');
        // As many applications have it: nothing but the order. What arrives twice is there twice.
        $shop->query('CREATE TABLE IF NOT EXISTS plain_orders (id INT AUTO_INCREMENT PRIMARY KEY, token VARCHAR(64) NOT NULL,
            amount INT NOT NULL, web VARCHAR(64) NOT NULL, made TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), KEY (token))');
        $shop->query('CREATE TABLE IF NOT EXISTS sessions (id VARCHAR(128) PRIMARY KEY, data MEDIUMBLOB NOT NULL,
            used TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (used))');
        break;
    } catch (mysqli_sql_exception $error) {
        if (time() >= $deadline) {
            throw $error;
        }
        fwrite(STDERR, "the database is not ready: {$error->getMessage()}\n");
    }
}

define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
require '/usr/share/wordpress/wp-load.php';
if (is_blog_installed()) {
    exit;
}
// There is nobody to be told by mail.
function wp_new_blog_notification() {}
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('Two of everything', 'owner', 'owner@example.org', true, '', $secret('owner'));
update_option('comments_notify', 0);
update_option('moderation_notify', 0);
// So that a page stays short, however many comments come.
update_option('page_comments', 1);
update_option('permalink_structure', '/%postname%/');
flush_rewrite_rules(false);
wp_cache_flush();
$shop->query("DO RELEASE_LOCK('cluster-install')");
echo "WordPress is installed; its owner's password is in /run/secrets/owner\n";
