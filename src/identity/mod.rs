//! Who is asking: an OpenID Connect token in, a proved principal out.

pub mod template;
