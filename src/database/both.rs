//! For tests of what is kept in a file or on a server, and has to be the same there.

/// Where a test keeps what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// In a SQLite file.
    File,
    /// In a database on a server.
    Server,
}

impl Home {
    /// What is said to SQLite or to PostgreSQL, where they do not understand the same.
    pub(crate) fn choose<T>(self, [sqlite, postgres]: [T; 2]) -> T {
        match self {
            Self::File => sqlite,
            Self::Server => postgres,
        }
    }
}

/// Makes two tests of each of these functions, one in each [`Home`].
macro_rules! on_both {
    ($($(#[$test:meta])+ $name:ident),+ $(,)?) => {
        mod in_a_file {
            $($(#[$test])+ async fn $name() {
                super::$name(crate::database::both::Home::File).await;
            })+
        }
        mod on_a_server {
            $($(#[$test])+ async fn $name() {
                super::$name(crate::database::both::Home::Server).await;
            })+
        }
    };
}

pub(crate) use on_both;
