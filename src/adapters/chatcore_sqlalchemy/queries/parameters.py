"""Parameters that several statements share. All are of 64 bits, also on PostgreSQL."""

from sqlalchemy import BigInteger, BindParameter, bindparam, literal_column

USER_ID = bindparam("user_id", type_=BigInteger)
PEER_ID = bindparam("peer_id", type_=BigInteger)
CHAT_ID: BindParameter[int] = bindparam("chat_id")
LIMIT = bindparam("limit", type_=BigInteger)
ONE = literal_column("1", BigInteger)
