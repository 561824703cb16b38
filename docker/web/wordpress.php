<?php
// WordPress's configuration: /etc/wordpress/config-default.php.
$secret = fn (string $name): string => trim(file_get_contents("/run/secrets/$name"));

define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', $secret('wordpress'));
define('DB_HOST', getenv('DATABASE'));
define('DB_CHARSET', 'utf8mb4');

// The address by which the visitor has come: the virtual IP, or one of the load balancers'.
define('WP_HOME', 'http://' . ($_SERVER['HTTP_HOST'] ?? 'localhost'));
define('WP_SITEURL', WP_HOME);
define('WP_CONTENT_URL', WP_HOME . '/wp-content');

// The same on all web servers: who is logged in at one is at the others.
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $what) {
    define("{$what}_KEY", hash_hmac('sha256', "$what key", $secret('salt')));
    define("{$what}_SALT", hash_hmac('sha256', "$what salt", $secret('salt')));
}

define('WP_DEFAULT_THEME', 'twentytwentyone');
// Files of the program come with the image, the same on all web servers.
define('DISALLOW_FILE_MODS', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
