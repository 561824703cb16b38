//! The MySQL and MariaDB client/server protocol as pure data.
