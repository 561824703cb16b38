-- The accounts, each with what it needs and no more. Made on both servers at their first start, and not replicated.
SET SESSION sql_log_bin = 0;
CREATE DATABASE wordpress;
CREATE DATABASE shop;

CREATE USER 'wordpress'@'%' IDENTIFIED BY '@wordpress@';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP ON wordpress.* TO 'wordpress'@'%';
CREATE USER 'shop'@'%' IDENTIFIED BY '@shop@';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON shop.* TO 'shop'@'%';

CREATE USER 'replication'@'%' IDENTIFIED BY '@replication@';
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';

CREATE USER 'tandem'@'%' IDENTIFIED BY '@monitor@';
GRANT REPLICATION CLIENT, TRIGGER, SHOW VIEW ON *.* TO 'tandem'@'%';
GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION_SLAVE_ADMIN, REPLICATION SLAVE, PROCESS ON *.* TO 'tandem'@'%';
GRANT CREATE, INSERT, DELETE ON tandem.* TO 'tandem'@'%';

-- The administrator is who the system knows as mysql, in place of the root without a password that a new server has.
CREATE USER 'mysql'@'localhost' IDENTIFIED WITH auth_socket;
GRANT ALL ON *.* TO 'mysql'@'localhost' WITH GRANT OPTION;
DROP USER 'root'@'localhost';
