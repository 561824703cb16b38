CREATE DATABASE shop
USE shop
CREATE TABLE product (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(80) NOT NULL, price DECIMAL(8,2) NOT NULL, stock INT NOT NULL) ENGINE=InnoDB
CREATE TABLE customer (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(80) NOT NULL, email VARCHAR(120) NOT NULL UNIQUE) ENGINE=InnoDB
CREATE TABLE purchase (id INT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, product INT NOT NULL, amount INT NOT NULL, placed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, FOREIGN KEY (customer) REFERENCES customer (id), FOREIGN KEY (product) REFERENCES product (id)) ENGINE=InnoDB
CREATE TABLE review (id INT AUTO_INCREMENT PRIMARY KEY, product INT NOT NULL, stars INT NOT NULL, words VARCHAR(200) NOT NULL, FOREIGN KEY (product) REFERENCES product (id)) ENGINE=InnoDB
INSERT INTO product (id, name, price, stock) VALUES (1, 'Tandem, city', 1290.00, 12), (2, 'Tandem, touring', 2450.00, 5), (3, 'Chain, long', 39.90, 80), (4, 'Bell, very loud', 14.50, 200), (5, 'Saddle, soft', 59.00, 40), (6, 'Lamp, dynamo', 44.00, 65)
INSERT INTO customer (id, name, email) VALUES (1, 'Ada', 'ada@example.org'), (2, 'Grace', 'grace@example.org'), (3, 'Søren', 'soeren@example.org'), (4, '北斎', 'hokusai@example.org')
INSERT INTO purchase (customer, product, amount) SELECT customer.id, product.id, 1 FROM customer, product WHERE product.price < 50
