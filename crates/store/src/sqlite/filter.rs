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
pub(super) struct Filter {
    table: &'static Table,
    ascending: bool,
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// The rows of a scope.
    pub(super) fn new(table: &'static Table, scope: &Scope, role: Role, ascending: bool) -> Self {
        let index = table.indexes[usize::from(ascending)];
        let sql = format!("FROM {} {} INDEXED BY {index} WHERE ", table.name, table.row);
        let mut f = Filter { table, ascending, sql, values: Vec::new() };
        f.put(&f.column("account = "), sql_id(scope.account().0));
        f.put(&format!(" AND {}", f.column("region = ")), scope.region().as_str().to_owned());
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

    /// The column is what a query finds: it ends before its own parameter; `?1` and `?2` are account and region.
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

    /// A statement for one column of the rows of a page.
    pub(super) fn select(&self, column: &str) -> String {
        let (limit, offset) = (self.values.len() + 1, self.values.len() + 2);
        format!("SELECT {} {} {} LIMIT ?{limit} OFFSET ?{offset}", self.column(column), self.sql, self.order())
    }

    /// Counts the rows and reads those of a page by a statement around [`Filter::select`], at one moment.
    pub(super) fn page<T>(
        mut self,
        conn: &Connection,
        sql: &str,
        [offset, limit]: [u64; 2],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>> {
        let _snapshot = conn.unchecked_transaction()?;
        let total = conn
            .prepare_cached(&format!("SELECT count(*) {}", self.sql))?
            .query_row(params_from_iter(&self.values), |r| rows::count(r, 0))?;
        if limit == 0 || offset >= total {
            return Ok(Page { total, items: Vec::new() });
        }
        self.values.extend([Value::Integer(bound(limit)), Value::Integer(bound(offset))]);
        Ok(Page { total, items: all(conn, sql, params_from_iter(&self.values), read)? })
    }
}
