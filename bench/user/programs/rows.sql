-- SPDX-License-Identifier: GPL-2.0-only
-- A table with two indices in memory: inserts, updates, a sort, a join.
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 150000)
	insert into t select i, hex(i * 7919 % 65537) || substr('abcdefghijklmnop', i % 16), i / 3.0 from n;
create index tb on t(b);
create index tc on t(c, b);
update t set b = b || 'x' where a % 3 = 0;
delete from t where a % 7 = 0;
create table s as select b, count(*) n, group_concat(a) g from t group by substr(b, 1, 4) order by 2, 1;
select count(*), sum(length(g)) from s join t on s.b = t.b;
select count(*) from (select * from t order by c desc, b limit 50000);
