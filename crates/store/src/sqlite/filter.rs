//! The part of a list's statement that chooses rows: shared by the lists of keys and of data keys.

use super::keys::all;
use super::rows::{self, bound, sql_id};
use super::search;
use crate::error::Result;
use crate::model::{Page, Role, Scope};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

/// A table that is listed. Its columns `account`, `region`, `product`, `create_time`, id and name are in both indexes,
/// beside all that is filtered by.
pub(super) struct Table {
    /// Its name.
    pub name: &'static str,
    /// What its rows are called in statements.
    pub row: &'static str,
    /// Column of the id.
    pub id: &'static str,
    /// Column of the name that is searched.
    pub text: &'static str,
    /// The index that is ordered as descending lists are, and the one for ascending lists.
    pub indexes: [&'static str; 2],
    /// Table of the tags, and its column that names the row.
    pub tags: [&'static str; 2],
}

impl Table {
    /// How many rows of a scope are the account's own, without those of one state.
    pub(super) fn count_own(&self, conn: &Connection, scope: &Scope, left_out: u8) -> Result<u64> {
        let (name, [index, _]) = (self.name, self.indexes);
        let sql = format!(
            "SELECT count(*) FROM {name} INDEXED BY {index} \
             WHERE account = ?1 AND region = ?2 AND product = 0 AND state <> ?3"
        );
        let values = params![sql_id(scope.account().0), scope.region().as_str(), left_out];
        Ok(conn.prepare_cached(&sql)?.query_row(values, |r| rows::count(r, 0))?)
    }
}

/// `FROM … WHERE …` of a query, with its values. Every value is a parameter.
///
/// The parameters begin with account and region of each scope. In the text these two are called `?account` and `?region`
/// until it is written out for one of the scopes; no text of a caller is ever part of it.
pub(super) struct Filter {
    table: &'static Table,
    scopes: usize,
    ascending: bool,
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// The rows of some scopes.
    pub(super) fn new(table: &'static Table, scopes: &[Scope], role: Role, ascending: bool) -> Self {
        let (index, name, row) = (table.indexes[usize::from(ascending)], table.name, table.row);
        let sql =
            format!("FROM {name} {row} INDEXED BY {index} WHERE {row}.account = ?account AND {row}.region = ?region");
        let values = |s: &Scope| [sql_id(s.account().0).into(), s.region().as_str().to_owned().into()];
        let values = scopes.iter().flat_map(values).collect();
        let mut f = Filter { table, scopes: scopes.len(), ascending, sql, values };
        // Written out, not a parameter: two statements, each with a plan of its own.
        let role = match role {
            Role::Own => "product = 0",
            Role::Product => "product = 1",
        };
        f.sql.push_str(&format!(" AND {}", f.column(role)));
        f
    }

    fn column(&self, text: &str) -> String {
        format!("{}.{text}", self.table.row)
    }

    /// The column has one of the codes; none = any.
    pub(super) fn codes(&mut self, column: &str, codes: impl Iterator<Item = u8>) {
        let mut codes = codes.peekable();
        if codes.peek().is_some() {
            let sql = format!(" AND {} IN (", self.column(column));
            self.among(&sql, codes.map(|code| i64::from(code).into()));
        }
    }

    /// The column has this value, if there is one.
    pub(super) fn equal(&mut self, column: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            let sql = format!(" AND {} = ", self.column(column));
            self.put(&sql, value);
        }
    }

    /// The text is part of the name or of the written id. `instr` compares bytes, so nothing in the text is a wildcard
    /// and case counts.
    pub(super) fn search(&mut self, text: Option<&str>) {
        let Some(text) = text.filter(|t| !t.is_empty()) else { return };
        let id = self.column(self.table.id);
        self.put(&format!(" AND (instr({}, ", self.column(self.table.text)), text.to_owned());
        self.sql.push(')');
        // Most texts cannot be part of an id: they cost nothing more.
        let places = search::places(text);
        if !places.is_empty() {
            self.sql.push_str(" OR (");
            for (i, hint) in search::hints(&places).into_iter().enumerate() {
                self.put(&format!("{}instr({id}, ", if i == 0 { "(" } else { ") OR " }), hint);
            }
            if self.sql.ends_with(|c: char| c.is_ascii_digit()) {
                self.sql.push_str(")) AND ");
            }
            self.put(&format!("id_matches({id}, "), places);
            self.sql.push_str("))");
        }
        self.sql.push(')');
    }

    /// All of the tag keys are there, each with any of its values; no value = any.
    pub(super) fn tags(&mut self, tags: &[(String, Vec<String>)]) {
        let [table, owner] = self.table.tags;
        let here = self.column("id");
        for (key, values) in tags {
            let sql = format!(" AND EXISTS (SELECT 1 FROM {table} t WHERE t.{owner} = {here} AND t.key = ");
            self.put(&sql, key.clone());
            if !values.is_empty() {
                self.among(" AND t.value IN (", values.iter().map(|v| v.clone().into()));
            }
            self.sql.push(')');
        }
    }

    /// The column is what a query finds: it ends before its own parameter; `?account` and `?region` are those of the row.
    pub(super) fn found(&mut self, column: &str, query: &str, value: impl Into<Value>) {
        let sql = format!(" AND {} = ({query}", self.column(column));
        self.put(&sql, value);
        self.sql.push(')');
    }

    fn put(&mut self, sql: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.sql.push_str(&format!("{sql}?{}", self.values.len()));
    }

    fn among(&mut self, sql: &str, values: impl Iterator<Item = Value>) {
        self.sql.push_str(sql);
        for (i, value) in values.enumerate() {
            self.put(if i == 0 { "" } else { ", " }, value);
        }
        self.sql.push(')');
    }

    /// `ORDER BY` the time of creation, then the id.
    pub(super) fn order(&self) -> String {
        let (row, id) = (self.table.row, self.table.id);
        format!("ORDER BY {row}.create_time{}, {row}.{id}", if self.ascending { "" } else { " DESC" })
    }

    /// The text for each of the scopes.
    fn each(&self) -> impl Iterator<Item = String> {
        (0..self.scopes).map(|n| {
            let named = |name: &str, at: usize, sql: &str| sql.replace(name, &format!("?{}", 2 * n + at));
            named("?region", 2, &named("?account", 1, &self.sql))
        })
    }

    /// A statement for one column of the rows of a page.
    ///
    /// Rows of several scopes come by a compound select: SQLite merges its parts, each in the order of the index, so that
    /// skipping to an offset sorts nothing there either.
    pub(super) fn select(&self, column: &str) -> String {
        let (limit, offset) = (self.values.len() + 1, self.values.len() + 2);
        let (columns, order) = if self.scopes == 1 {
            (self.column(column), self.order())
        } else {
            let sorted =
                format!("{}, {}, {}", self.column(column), self.column("create_time"), self.column(self.table.id));
            (sorted, format!("ORDER BY 2{}, 3", if self.ascending { "" } else { " DESC" }))
        };
        let parts: Vec<String> = self.each().map(|sql| format!("SELECT {columns} {sql}")).collect();
        format!("{} {order} LIMIT ?{limit} OFFSET ?{offset}", parts.join(" UNION ALL "))
    }

    /// A statement that counts the rows of all pages.
    fn count(&self) -> String {
        let parts: Vec<String> = self.each().map(|sql| format!("(SELECT count(*) {sql})")).collect();
        format!("SELECT {}", parts.join(" + "))
    }

    /// Counts the rows and reads those of a page by a statement around [`Filter::select`], at one moment.
    pub(super) fn page<T>(
        mut self,
        conn: &Connection,
        sql: &str,
        [offset, limit]: [u64; 2],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>> {
        if self.scopes == 0 {
            return Ok(Page { total: 0, items: Vec::new() });
        }
        let _snapshot = conn.unchecked_transaction()?;
        let total =
            conn.prepare_cached(&self.count())?.query_row(params_from_iter(&self.values), |r| rows::count(r, 0))?;
        if limit == 0 || offset >= total {
            return Ok(Page { total, items: Vec::new() });
        }
        self.values.extend([Value::Integer(bound(limit)), Value::Integer(bound(offset))]);
        Ok(Page { total, items: all(conn, sql, params_from_iter(&self.values), read)? })
    }
}
