-- The accounts, each with what it needs and no more. Made on both servers at their first start, and not replicated.
SET SESSION sql_log_bin = 0;
DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');
FLUSH PRIVILEGES;
DROP DATABASE IF EXISTS test;
CREATE DATABASE wordpress;
CREATE DATABASE shop;

CREATE USER 'wordpress'@'%' IDENTIFIED BY '@wordpress@';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP ON wordpress.* TO 'wordpress'@'%';
CREATE USER 'shop'@'%' IDENTIFIED BY '@shop@';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON shop.* TO 'shop'@'%';

CREATE USER 'replication'@'%' IDENTIFIED BY '@replication@';
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';

CREATE USER 'tandem'@'%' IDENTIFIED BY '@monitor@';
GRANT SLAVE MONITOR, TRIGGER, SHOW VIEW ON *.* TO 'tandem'@'%';
GRANT READ_ONLY ADMIN, CONNECTION ADMIN, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, REPLICATION SLAVE, PROCESS
  ON *.* TO 'tandem'@'%';
GRANT CREATE, INSERT, DELETE ON tandem.* TO 'tandem'@'%';
