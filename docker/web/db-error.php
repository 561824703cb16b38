<?php
// WordPress shows this when it has no database. With 503 the load balancer asks the other web server, which has another Tandem.
http_response_code(503);
header('Retry-After: 2');
header('Content-Type: text/html; charset=utf-8');
echo '<!doctype html><title>One moment</title><p>The database does not answer. Please try again in a moment.';
