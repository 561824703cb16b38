<?php
// WordPress loads this by itself (mu-plugins).

// A comment that arrives twice has been sent twice: by the load balancer, whose web server died before it had answered, or by an
// impatient visitor. It is there, and that is what the visitor wants to see.
add_action('comment_duplicate_trigger', function (array $comment) {
    $same = get_comments(['post_id' => $comment['comment_post_ID'], 'author_email' => $comment['comment_author_email'],
        'orderby' => 'comment_ID', 'order' => 'DESC', 'number' => 5, 'status' => 'any']);
    foreach ($same as $known) {
        if ($known->comment_content === wp_unslash($comment['comment_content'])) {
            wp_safe_redirect(get_comment_link($known));
            exit;
        }
    }
});
