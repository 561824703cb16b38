//! What sqlx's own tests expect of its unpublished crate `sqlx-test`: connections to `DATABASE_URL`, and `test_type!`.

use std::env;

use sqlx::{Connection, Database, Pool};

#[doc(hidden)]
pub use {anyhow, paste, sqlx};

/// sqlx reads a file of settings here. These come from the environment.
pub fn setup_if_needed() {}

pub async fn new<D: Database>() -> anyhow::Result<D::Connection> {
    Ok(D::Connection::connect(&env::var("DATABASE_URL")?).await?)
}

pub async fn pool<D: Database>() -> anyhow::Result<Pool<D>> {
    Ok(Pool::connect(&env::var("DATABASE_URL")?).await?)
}

/// Tests that each SQL expression is read as the value, from a text and from a prepared statement, and that the value comes
/// back when it is sent as a parameter. A template of its own may say how the two are compared: equality, expression, parameter.
#[macro_export]
macro_rules! test_type {
    ($name:ident($database:ident, $($rest:tt)+)) => {
        $crate::test_type!($name<$name>($database, $($rest)+));
    };
    ($name:ident<$type:ty>($database:ident, $($sql:literal == $value:expr),+ $(,)?)) => {
        $crate::test_type!($name<$type>($database, "SELECT {0} <=> ?, {0}, ?", $($sql == $value),+));
    };
    ($name:ident<$type:ty>($database:ident, $template:literal, $($sql:literal == $value:expr),+ $(,)?)) => {
        $crate::paste::paste! {
            #[sqlx::test]
            async fn [<test_text_ $name>]() -> $crate::anyhow::Result<()> {
                use $crate::sqlx::{Executor, Row};
                let mut connection = $crate::new::<$database>().await?;
                $(
                    let row = connection.fetch_one(concat!("SELECT ", $sql)).await?;
                    assert_eq!(row.try_get::<$type, _>(0)?, $value, "{}", $sql);
                )+
                Ok(())
            }

            #[sqlx::test]
            async fn [<test_prepared_ $name>]() -> $crate::anyhow::Result<()> {
                use $crate::sqlx::Row;
                let mut connection = $crate::new::<$database>().await?;
                $(
                    let text = $template.replace("{0}", $sql);
                    let query = $crate::sqlx::query(&text).bind($value).bind($value);
                    let row = query.fetch_one(&mut connection).await?;
                    assert_eq!(row.try_get::<i32, _>(0)?, 1, "{text}");
                    assert_eq!(row.try_get::<$type, _>(1)?, $value, "{text}");
                    assert_eq!(row.try_get::<$type, _>(2)?, $value, "{text}");
                )+
                Ok(())
            }
        }
    };
}
