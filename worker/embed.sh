#!/bin/sh
# Writes the assembly that puts the files named on the command line into the programs:
# x.lua as `lua_x`, *.sql as the table `embedded_sql` in the order given (see base/embedded.h).
set -eu

echo '/* Made by worker/embed.sh. */'
echo '    .section .rodata'

sql=0
names=
for path; do
    base=${path##*/}
    case $base in
    *.lua)
        symbol=lua_${base%.lua}
        printf '    .globl %s\n    .type %s, @object\n%s:\n' "$symbol" "$symbol" "$symbol"
        printf '    .incbin "%s"\n    .byte 0\n    .size %s, . - %s\n' "$path" "$symbol" "$symbol"
        ;;
    *.sql)
        printf 'sql_name_%d:\n    .asciz "%s"\n' "$sql" "$base"
        printf 'sql_data_%d:\n    .incbin "%s"\nsql_end_%d:\n    .byte 0\n' "$sql" "$path" "$sql"
        names="$names $sql"
        sql=$((sql + 1))
        ;;
    *)
        echo "embed.sh: what is $path?" >&2
        exit 1
        ;;
    esac
done

cat <<END
    .balign 8
    .globl embedded_sql_count
    .type embedded_sql_count, @object
    .size embedded_sql_count, 8
embedded_sql_count:
    .quad $sql
    .section .data.rel.ro, "aw"
    .balign 8
    .globl embedded_sql
    .type embedded_sql, @object
embedded_sql:
END
for i in $names; do
    printf '    .quad sql_name_%d, sql_data_%d, sql_end_%d - sql_data_%d\n' "$i" "$i" "$i" "$i"
done
cat <<END
    .quad 0, 0, 0
    .size embedded_sql, . - embedded_sql
    .section .note.GNU-stack, "", @progbits
END
